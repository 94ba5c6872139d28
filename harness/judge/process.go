package judge

import (
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
)

// splitProcess takes the name of a process fact apart: its unit and its executable.
func splitProcess(name string) (unit, executable string) {
	unit, executable, _ = strings.Cut(name, " ")
	return unit, executable
}

// isSession tells whether a unit belongs to somebody who is logged in: the probe tells sessions by their user-UID.slice.
func isSession(unit string) bool {
	return strings.HasPrefix(unit, "user-")
}

func (h *hearing) ruleProcess(d drift.Drift) ruling {
	unit, executable := splitProcess(d.Key.Name)
	owner := unitKey(unit)
	_, explained := h.found(owner)
	switch {
	case explained:
		return follows(owner)
	case d.Change == drift.Removed && h.rulings[owner].class == drift.Volatile:
		return follows(owner)
	case h.servesConnection(unit):
		return volatile("it serves one client, and comes and goes with the connection")
	case isSession(unit):
		return volatile("people log in and out")
	case d.Change == drift.Changed:
		return finding(warn("PL107", d, executable+" of "+unit+" runs as another user"))
	case d.Change == drift.Added:
		return h.processAdded(unit)
	case h.stillUp(unit) && (h.restarted[unit] || len(h.moved) > 0 || h.Rebooted):
		return expected(unit + " was started anew")
	default:
		return finding(warn("PL107", d, executable+" of "+unit+" does not run any more"))
	}
}

func (h *hearing) processAdded(unit string) ruling {
	if h.stillUp(unit) {
		return volatile("a running unit starts processes as it needs them")
	}
	return follows(unitKey(unit))
}

// stillUp tells whether the unit is up at this boundary.
func (h *hearing) stillUp(unit string) bool {
	if unit == "init.scope" {
		return true
	}
	f, found := h.Facts.Get(fact.KindUnit, unit)
	return found && up(f)
}
