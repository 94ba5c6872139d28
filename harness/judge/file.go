package judge

import (
	"path"
	"regexp"
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

// generated are files that package triggers and account tools rewrite: not owned, and no configuration of anybody.
var generated = map[string]string{
	"/etc/ld.so.cache": "rebuilt by ldconfig after a library moved",
	"/etc/.pwd.lock":   "lock of the account tools",
	"/etc/passwd":      "told by its accounts",
	"/etc/passwd-":     "backup by the account tools",
	"/etc/group":       "told by its accounts",
	"/etc/group-":      "backup by the account tools",
	"/etc/shadow-":     "backup by the account tools",
	"/etc/gshadow":     "told by its accounts",
	"/etc/gshadow-":    "backup by the account tools",
	"/etc/subuid-":     "backup by the account tools",
	"/etc/subgid-":     "backup by the account tools",
}

func (h *hearing) ruleFile(d drift.Drift) ruling {
	if unit, ok := h.enablementOf(d); ok {
		return follows(unit)
	}
	if increment, ok := h.put[d.Key.Name]; ok {
		return expected("put there by increment " + increment)
	}
	if reason, ok := generated[d.Key.Name]; ok && len(h.moved) > 0 {
		return expected(reason)
	}
	if isDirectoryTime(d) {
		return expected("a directory")
	}
	owner := d.Was["package"] + d.Is["package"]
	if owner == "" {
		owner = h.ownerOf(d.Key)
	}
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

func isDirectoryTime(d drift.Drift) bool {
	return d.Change != drift.Changed && (d.Was["type"] == "dir" || d.Is["type"] == "dir")
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

func (h *hearing) ruleUnowned(d drift.Drift) ruling {
	switch {
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
