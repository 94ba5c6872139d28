package judge

import (
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
)

const installed = "installed"

// PackageName strips the architecture from the name of a package fact.
func PackageName(name string) string {
	bare, _, _ := strings.Cut(name, ":")
	return bare
}

// movesPackage tells whether the drift changes what is installed, not merely how it is marked.
func movesPackage(d drift.Drift) bool {
	if d.Change != drift.Changed {
		return true
	}
	_, version := d.Is["version"]
	_, status := d.Is["status"]
	return version || status
}

func (h *hearing) rulePackage(d drift.Drift) ruling {
	name := PackageName(d.Key.Name)
	increment, moved := h.moved[name]
	switch {
	case d.Change == drift.Removed:
		f := fault("PL501", d, name+" was removed")
		f.Package = name
		return finding(f)
	case halfInstalled(d):
		f := fault("PL502", d, name+" is left "+d.Is["status"])
		f.Package = name
		return finding(f)
	case moved:
		return expected("moved by increment " + increment)
	case !movesPackage(d):
		return expected("only its mark as automatically installed moved")
	default:
		// Nothing of the candidate installed it: something in the guest updates by itself.
		f := warn("PL504", d, name+" was changed by something other than the candidate")
		f.Package = name
		return finding(f)
	}
}

func halfInstalled(d drift.Drift) bool {
	status, known := d.Is["status"]
	return known && status != installed
}

// ownerMoved tells whether the package that owns something was moved by the candidate.
func (h *hearing) ownerMoved(pkg string) bool {
	_, moved := h.moved[PackageName(pkg)]
	return pkg != "" && moved
}

// wasRemoved tells whether a package is gone on all architectures that it was installed for.
func (h *hearing) wasRemoved(pkg string) bool {
	removed := false
	for _, f := range h.base.Baseline.OfKind(fact.KindPackage) {
		if PackageName(f.Name) == pkg {
			if _, there := h.Facts.Get(fact.KindPackage, f.Name); there {
				return false
			}
			removed = true
		}
	}
	return removed
}
