package judge

import (
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
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

// ruleStale: processes that still run what the candidate replaced.
func (h *hearing) ruleStale(d drift.Drift) ruling {
	if d.Change != drift.Added {
		return expected("no longer stale")
	}
	parts := strings.SplitN(d.Key.Name, " ", 3)
	unit := parts[0]
	if h.RestartsPending && h.base.Restart != scenario.RestartNone {
		return expected("to be restarted")
	}
	id, severity := "PL601", verdict.Error
	title := unit + " still runs files that were replaced"
	switch {
	case h.restarted[unit]:
		id, title = "PL602", unit+" still runs replaced files after its restart"
	case h.base.Restart != scenario.RestartNone && !h.Rebooted:
		severity = verdict.Warning // told as a reason to reboot; an error if it survives that
	}
	f := statement(severity, id, d, title)
	f.Cause = strings.Join(parts[1:], " maps deleted ")
	return finding(f)
}
