package judge

import (
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
)

// The bits of a mode that matter here.
const (
	setUID     = 0o4000
	setGID     = 0o2000
	sticky     = 0o1000
	worldWrite = 0o0002
)

// ruleDanger tells of a file that gained power over others, or over which others gained power, wherever it lies and whoever put it
// there: also a package that the candidate brings has to be asked what for.
func (h *hearing) ruleDanger(d drift.Drift) (_ ruling, dangerous bool) {
	if d.Change == drift.Removed {
		return ruling{}, false
	}
	was, _ := h.base.Baseline.Get(fact.KindFile, d.Key.Name)
	is, _ := h.Facts.Get(fact.KindFile, d.Key.Name)
	owner := h.ownerOfDrift(d)
	byPackage := h.ownerMoved(owner)
	tell := func(id, what string) (ruling, bool) {
		f := fault(id, d, d.Key.Name+what)
		switch {
		case byPackage:
			f = warn(id, d, d.Key.Name+what+", as its package "+PackageName(owner)+" has it")
			f.Package = PackageName(owner)
		case owner == "":
			f.Title += "; it belongs to no package"
		default:
			f.Title += "; its package " + PackageName(owner) + " has it otherwise"
			f.Package = PackageName(owner)
		}
		return finding(f), true
	}
	if gained := powers(is); gained != "" && gained != powers(was) && (powers(was) == "" || !isPart(gained, powers(was))) {
		return tell("PL402", " runs with more rights than its caller has ("+gained+")")
	}
	if isOpen(is) && !isOpen(was) && !isShared(d.Key.Name) {
		return tell("PL401", " can be written to by every user")
	}
	return ruling{}, false
}

// powers says what a program may do whoever calls it, "" for nothing: "set-uid root, cap_net_raw=ep".
func powers(f fact.Fact) string {
	if f.Attribute("type") != "file" {
		return ""
	}
	var found []string
	user, group, _ := strings.Cut(f.Attribute("owner"), ":")
	mode := modeOf(f)
	if mode&setUID != 0 {
		found = append(found, "set-uid "+user)
	}
	if mode&setGID != 0 {
		found = append(found, "set-gid "+group)
	}
	if caps := f.Attribute("caps"); caps != "" {
		found = append(found, caps)
	}
	return strings.Join(found, ", ")
}

// isPart tells whether each of some powers was there before.
func isPart(powers, before string) bool {
	for power := range strings.SplitSeq(powers, ", ") {
		if !strings.Contains(", "+before+", ", ", "+power+", ") {
			return false
		}
	}
	return true
}

// isOpen tells whether every user may write to a file, or delete what others have in a directory.
func isOpen(f fact.Fact) bool {
	mode := modeOf(f)
	switch f.Attribute("type") {
	case "file":
		return mode&worldWrite != 0
	case "dir":
		return mode&worldWrite != 0 && mode&sticky == 0
	}
	return false // a socket or a device is made for that
}

// isShared tells whether a path is where every user has files, for others too if he likes.
func isShared(name string) bool {
	return strings.HasPrefix(name, "/tmp/") || strings.HasPrefix(name, "/var/tmp/")
}

func modeOf(f fact.Fact) uint64 {
	mode, err := strconv.ParseUint(f.Attribute("mode"), 8, 32)
	if err != nil {
		return 0 // a link
	}
	return mode
}
