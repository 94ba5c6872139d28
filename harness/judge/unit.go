package judge

import (
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// unit is a unit before and after, whole, not only what moved.
type unit struct {
	drift.Drift
	name     string
	was, is  fact.Fact
	existed  bool
	exists   bool
	rebooted bool
}

func (h *hearing) unit(d drift.Drift) unit {
	u := unit{Drift: d, name: d.Key.Name, rebooted: h.Rebooted}
	u.was, u.existed = h.base.Baseline.Get(fact.KindUnit, u.name)
	u.is, u.exists = h.Facts.Get(fact.KindUnit, u.name)
	return u
}

// up tells whether a unit does its work. Reloading is up; activating is not yet.
func up(f fact.Fact) bool {
	active := f.Attribute("active")
	return active == "active" || active == "reloading"
}

// startsAtBoot tells whether the unit file's state makes the unit start by itself.
func startsAtBoot(f fact.Fact) bool {
	state := f.Attribute("enabled")
	return state == "enabled" || state == "enabled-runtime"
}

// passing tells whether the unit is one that comes and goes: a oneshot that a timer or a boot starts.
func passing(f fact.Fact) bool { return f.Attribute("type") == "oneshot" }

// servesConnection tells whether the unit serves one client's connection, for a socket that is there now or was.
func (h *hearing) servesConnection(unit string) bool {
	return h.Facts.ServesConnection(unit) || h.base.Baseline.ServesConnection(unit)
}

func (u unit) isTimed() bool {
	return strings.HasSuffix(u.name, ".timer") || strings.HasSuffix(u.name, ".path")
}

func (h *hearing) ruleUnit(d drift.Drift) ruling {
	u := h.unit(d)
	if strings.HasSuffix(u.name, ".mount") {
		return ruling{class: drift.Expected, reason: "told by its mount"}
	}
	if h.servesConnection(u.name) && u.is.Attribute("active") != "failed" {
		return volatile("it serves one client, and comes and goes with the connection")
	}
	var found []verdict.Finding
	for _, rule := range []func(*hearing, unit) (verdict.Finding, bool){lost, unstable, appeared, reenabled} {
		if f, ok := rule(h, u); ok {
			f.Package = h.packageOf(u)
			found = append(found, f)
		}
	}
	if len(found) > 0 {
		return finding(found...)
	}
	return u.harmless()
}

// packageOf names the package that ships the unit file, as far as a fact knows: unit files of packages lie outside
// /etc, so the unit's name is compared with the packages that the candidate moved.
func (h *hearing) packageOf(u unit) string {
	base, _, _ := strings.Cut(u.name, ".")
	if _, moved := h.moved[base]; moved {
		return base
	}
	return ""
}

// lost: it was up, and is not.
func lost(h *hearing, u unit) (verdict.Finding, bool) {
	if !up(u.was) || up(u.is) {
		return verdict.Finding{}, false
	}
	f := fault("PL101", u.Drift, u.name+" was running and is not any more")
	switch {
	case strings.HasSuffix(u.name, ".target"):
		// A target does nothing by itself: who wanted it is gone, and that is told.
		f.Severity, f.Title = verdict.Warning, u.name+" was reached and is not any more"
	case !u.exists:
		f.Title, f.Is = u.name+" was running and does not exist any more", "gone"
		if pkg := h.packageOf(u); h.wasRemoved(pkg) {
			f.Cause = "package " + pkg + " was removed (PL501)"
		}
	case u.is.Attribute("active") == "failed":
		f.Title, f.Cause = u.name+" was running and has failed", "result: "+u.is.Attribute("result")
	case u.is.Attribute("sub") == "auto-restart":
		f.ID, f.Title = "PL104", u.name+" restarts in a loop"
	case passing(u.was) || u.endsByItself(h):
		return verdict.Finding{}, false
	case u.rebooted && !startsAtBoot(u.is) && startsAtBoot(u.was):
		f.Cause = "it is " + state(u.is) + " now, so the boot did not start it"
	case u.rebooted:
		f.Title = u.name + " was running before the reboot and did not come back"
	}
	return f, true
}

// endsByItself is a unit on demand that ended without an error.
func (u unit) endsByItself(h *hearing) bool {
	result := u.is.Attribute("result")
	return u.onDemand(h) && u.is.Attribute("active") == "inactive" && (result == "" || result == "success")
}

// onDemand tells whether the unit is started by whoever asks for it, over D-Bus or a socket that listens, and by nothing
// else.
func (u unit) onDemand(h *hearing) bool {
	socket, _ := h.Facts.Get(fact.KindUnit, strings.TrimSuffix(u.name, ".service")+".socket")
	return u.is.Attribute("enabled") == "static" && (u.is.Attribute("type") == "dbus" || up(socket))
}

// unstable: it had not failed, and has.
func unstable(_ *hearing, u unit) (verdict.Finding, bool) {
	failed := u.is.Attribute("active") == "failed"
	if !failed || up(u.was) || u.was.Attribute("active") == "failed" {
		return verdict.Finding{}, false
	}
	f := fault("PL104", u.Drift, u.name+" fails when it is started")
	f.Cause = "result: " + u.is.Attribute("result")
	return f, true
}

// appeared: it was not up, and is.
func appeared(h *hearing, u unit) (verdict.Finding, bool) {
	starts := startsAtBoot(u.is) && !startsAtBoot(u.was)
	runs := up(u.is) && !up(u.was) && !passing(u.is)
	wanted := u.existed && startsAtBoot(u.was) && runs // it should have run before: healed
	asked := u.existed && !starts && u.onDemand(h)
	if wanted || asked || !starts && !runs || strings.HasSuffix(u.name, ".target") {
		return verdict.Finding{}, false
	}
	severity := verdict.Error
	if runs && !starts && u.is.Attribute("enabled") == "static" {
		severity = verdict.Info // something that is up wanted it
	}
	f := statement(severity, "PL102", u.Drift, u.name+" was off and is on now")
	switch {
	case u.isTimed():
		f.ID, f.Title = "PL106", u.name+" appeared: a job that starts by itself"
	case starts && !runs:
		f.Title = u.name + " will start at every boot; before it did not"
	case !u.existed:
		f.Title = u.name + " is new, and runs"
	}
	return f, true
}

// reenabled: it started at boot, and will not.
func reenabled(_ *hearing, u unit) (verdict.Finding, bool) {
	broken := u.is.Attribute("load") == "not-found" || u.is.Attribute("load") == "bad-setting" ||
		u.is.Attribute("load") == "error"
	if !startsAtBoot(u.was) || startsAtBoot(u.is) && !broken || !u.exists {
		return verdict.Finding{}, false
	}
	severity := verdict.Warning
	if up(u.was) {
		severity = verdict.Error
	}
	f := statement(severity, "PL103", u.Drift, u.name+" would not come back after a reboot: it is "+state(u.is)+" now")
	if up(u.is) {
		f.Title = u.name + " still runs but would not come back after a reboot: it is " + state(u.is) + " now"
	}
	f.Was, f.Is = state(u.was), state(u.is)
	return f, true
}

// onlySubMoved: listening or running, waiting or running: what an idle unit does at the moment is chance.
func (u unit) onlySubMoved() bool {
	_, was := u.Was["sub"]
	_, is := u.Is["sub"]
	return was && is && len(u.Was) == 1 && len(u.Is) == 1
}

func state(f fact.Fact) string {
	for _, name := range []string{"enabled", "load"} {
		if value := f.Attribute(name); value != "" && value != "loaded" {
			return value
		}
	}
	return "gone"
}

// harmless gives the reason why a unit's drift is none of the above.
func (u unit) harmless() ruling {
	switch {
	case passing(u.was) || passing(u.is):
		return volatile("a oneshot unit comes and goes")
	case up(u.was) && !up(u.is):
		return volatile("it is started on demand, and ended by itself")
	case !u.existed:
		return expected("a new unit that neither runs nor starts at boot")
	case !u.exists:
		return expected("it neither ran nor started at boot")
	case up(u.is) && !up(u.was) && !startsAtBoot(u.was):
		return volatile("somebody asked for it")
	case up(u.is) && !up(u.was):
		return expected("it starts at boot, and runs now")
	case !up(u.was) && !up(u.is):
		return volatile("it is not up, as before")
	case u.onlySubMoved():
		return volatile("it is up, as before")
	default:
		return expected("it is up, as before")
	}
}
