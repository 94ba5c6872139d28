package judge

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
)

var (
	// wantsLink is how systemd remembers that a unit is enabled.
	wantsLink = regexp.MustCompile(`^/etc/systemd/(?:system|user)/(?:[^/]+\.(?:wants|requires)/)?([^/]+)$`)
	// runlevelLink is the same for sysvinit, kept in step by systemctl through update-rc.d.
	runlevelLink = regexp.MustCompile(`^/etc/rc[S0-6]\.d/[SK][0-9]{2}([^/]+)$`)
	// keptBeside are the names under which dpkg and ucf keep the version that was not chosen.
	keptBeside = regexp.MustCompile(`\.(dpkg-(dist|old|bak)|ucf-(dist|new|old))$`)
)

func (h *hearing) ruleFile(d drift.Drift) ruling {
	if r, dangerous := h.ruleDanger(d); dangerous {
		return r
	}
	if unit, ok := h.enablementOf(d); ok {
		return follows(unit)
	}
	if increment, ok := h.put[d.Key.Name]; ok {
		return expected("put there by increment " + increment)
	}
	if isDirectory(d) {
		return h.ruleDirectory(d)
	}
	owner := h.ownerOfDrift(d)
	switch {
	case owner == "" && isTrust(d.Key.Name):
		return h.ruleTrust(d)
	case owner == "":
		return h.ruleUnowned(d)
	case h.ownerMoved(owner):
		return h.ruleOwnPackage(d, owner)
	default:
		f := fault("PL304", d, d.Key.Name+" belongs to "+PackageName(owner)+", which the candidate does not touch, and was "+
			string(d.Change))
		f.Package = PackageName(owner)
		return finding(f)
	}
}

func isDirectory(d drift.Drift) bool { return d.Was["type"] == "dir" || d.Is["type"] == "dir" }

// ownerOfDrift returns the package that a file belongs to: of two, the one that the candidate moved, for a file may go over from
// one package to another.
func (h *hearing) ownerOfDrift(d drift.Drift) string {
	owners := []string{d.Is["package"], d.Was["package"]}
	if i := slices.IndexFunc(owners, h.ownerMoved); i >= 0 {
		return owners[i]
	}
	return cmp.Or(owners[0], owners[1], h.ownerOf(d.Key))
}

// ownerOf looks the package up in whichever set has the whole fact: a drift holds only what moved.
func (h *hearing) ownerOf(key fact.Key) string {
	for _, s := range []fact.Set{h.Facts, h.base.Baseline} {
		if f, found := s.Get(key.Kind, key.Name); found && f.Attribute("package") != "" {
			return f.Attribute("package")
		}
	}
	return ""
}

// enablementOf finds the unit whose being enabled a link in /etc records, if that unit drifted.
func (h *hearing) enablementOf(d drift.Drift) (fact.Key, bool) {
	if d.Was["type"] != "link" && d.Is["type"] != "link" {
		return fact.Key{}, false
	}
	names := []string{}
	if m := wantsLink.FindStringSubmatch(d.Key.Name); m != nil {
		names = append(names, m[1])
	}
	if m := runlevelLink.FindStringSubmatch(d.Key.Name); m != nil {
		names = append(names, m[1]+".service")
	}
	if target := d.Was["target"] + d.Is["target"]; len(names) > 0 && strings.Contains(target, "/systemd/") {
		names = append(names, path.Base(target)) // an alias is named after another unit
	}
	for _, name := range names {
		if _, drifted := h.drifts[unitKey(name)]; drifted {
			return unitKey(name), true
		}
	}
	return fact.Key{}, false
}

// ruleOwnPackage: a file of a package that the candidate moved. What nobody edited may follow its package; what was
// edited may not be overwritten.
func (h *hearing) ruleOwnPackage(d drift.Drift, owner string) ruling {
	before, existed := h.base.Baseline.Get(fact.KindFile, d.Key.Name)
	edited := existed && before.Attribute("edited") == "true"
	_, contentMoved := d.Is["sha256"]
	if edited && (contentMoved || d.Change == drift.Removed) {
		f := fault("PL301", d, "your edited "+d.Key.Name+" was "+overwritten(d)+" by "+PackageName(owner))
		f.Package = PackageName(owner)
		return finding(f)
	}
	return expected("belongs to " + PackageName(owner) + ", which the candidate moved")
}

func overwritten(d drift.Drift) string {
	if d.Change == drift.Removed {
		return "removed"
	}
	return "overwritten"
}

// ruleDirectory: that a directory comes or goes is told by what is in it. Who may do what in one of the system is not for a package
// to change.
func (h *hearing) ruleDirectory(d drift.Drift) ruling {
	switch {
	case IsData(d.Key.Name):
		return volatile(dataReason)
	case d.Change != drift.Changed:
		return expected("a directory")
	default:
		return finding(warn("PL307", d, "who may do what in the directory "+d.Key.Name+" was changed"))
	}
}

func (h *hearing) ruleUnowned(d drift.Drift) ruling {
	if r, ok := h.consequence(d); ok {
		return r
	}
	switch {
	case isAuthorizedKeys(d):
		return finding(fault("PL403", d, "who may log in is not as it was: "+d.Key.Name+" was "+string(d.Change)))
	case IsData(d.Key.Name):
		return volatile(dataReason)
	case strings.HasSuffix(d.Key.Name, ".dpkg-new"):
		return finding(note("PL305", d, d.Key.Name+" is the package's new version, whose installation was not finished"))
	case keptBeside.MatchString(d.Key.Name):
		return finding(note("PL305", d, d.Key.Name+" is the version that was not chosen: compare it with yours"))
	case d.Change == drift.Added:
		return finding(warn("PL305", d, d.Key.Name+" appeared and belongs to no package"))
	case d.Change == drift.Removed:
		return finding(warn("PL307", d, d.Key.Name+" is gone; it belonged to no package"))
	default:
		return finding(warn("PL307", d, d.Key.Name+" was changed; it belongs to no package"))
	}
}
