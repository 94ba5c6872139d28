// Package restart works out what must be restarted after an update, from the processes that still map deleted files: the
// least that is enough.
package restart

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
)

// Manager is the unit under which systemd itself runs; it is not restarted but told to execute itself anew.
const Manager = "init.scope"

// Unit to restart, and why.
type Unit struct {
	Name   string
	Reason string
}

// Plan is what to do about stale processes.
type Plan struct {
	// Units to restart, in the order in which it is safe: the manager first, the way in last.
	Units []Unit
	// Reboot holds the reasons why restarts are not enough.
	Reboot []string
	// Connections are units that serve one client each. Their restart would cut the client off and cannot start them anew, so
	// they are left alone: they keep the old files until the client hangs up.
	Connections []Unit
	// Sessions are login sessions that keep old files until their people log out.
	Sessions []Unit
}

// unrestartable are services whose restart ends what depends on them: every client of the message bus, every graphical
// session. needrestart leaves them alone for the same reason.
var unrestartable = map[string]string{
	"dbus.service":            "clients of the message bus do not survive its restart",
	"dbus-broker.service":     "clients of the message bus do not survive its restart",
	"display-manager.service": "its restart ends the graphical sessions",
	"gdm.service":             "its restart ends the graphical sessions",
	"lightdm.service":         "its restart ends the graphical sessions",
	"sddm.service":            "its restart ends the graphical sessions",
}

// Advise reads the stale processes of a set of facts, and whether another kernel waits for a reboot.
func Advise(facts fact.Set) Plan {
	reasons := map[string][]string{}
	for _, stale := range facts.OfKind(fact.KindStale) {
		parts := strings.SplitN(stale.Name, " ", 3)
		if len(parts) < 3 {
			continue
		}
		why := path.Base(parts[1]) + " maps the deleted " + path.Base(parts[2])
		if !slices.Contains(reasons[parts[0]], why) {
			reasons[parts[0]] = append(reasons[parts[0]], why)
		}
	}
	var plan Plan
	for name, why := range reasons {
		u := Unit{Name: name, Reason: summary(why)}
		if facts.ServesConnection(name) {
			plan.Connections = append(plan.Connections, u)
			continue
		}
		plan.add(u)
	}
	if reason := otherKernel(facts); reason != "" {
		plan.Reboot = append(plan.Reboot, reason)
	}
	plan.sort()
	return plan
}

// otherKernel says that the next boot starts another kernel than the one that runs: no restart brings that one in.
func otherKernel(facts fact.Set) string {
	running, _ := facts.Get(fact.KindKernel, "running")
	next, _ := facts.Get(fact.KindKernel, "default")
	from, to := running.Attribute("release"), next.Attribute("release")
	if from == "" || to == "" || from == to {
		return ""
	}
	return "kernel " + from + " runs until the reboot, which starts " + to
}

// All plans the restart of every service that runs and can be restarted.
func All(facts fact.Set) Plan {
	plan := Advise(facts)
	for _, u := range facts.OfKind(fact.KindUnit) {
		running := u.Attribute("active") == "active" && u.Attribute("sub") == "running"
		known := slices.ContainsFunc(plan.Units, func(p Unit) bool { return p.Name == u.Name })
		_, refused := unrestartable[u.Name]
		kept := refused || isSession(u.Name) || facts.ServesConnection(u.Name)
		if running && !known && !kept && strings.HasSuffix(u.Name, ".service") {
			plan.Units = append(plan.Units, Unit{Name: u.Name, Reason: "the scenario restarts everything"})
		}
	}
	plan.sort()
	return plan
}

func (p *Plan) add(u Unit) {
	why, refused := unrestartable[u.Name]
	switch {
	case refused:
		p.Reboot = append(p.Reboot, u.Name+": "+why+" ("+u.Reason+")")
	case isSession(u.Name):
		p.Sessions = append(p.Sessions, u)
	case u.Name == Manager || strings.HasSuffix(u.Name, ".service"):
		p.Units = append(p.Units, u)
	default:
		p.Reboot = append(p.Reboot, u.Name+" cannot be restarted as a unit ("+u.Reason+")")
	}
}

// isSession tells whether processes belong to somebody who is logged in: the probe tells sessions by their user-UID.slice.
func isSession(unit string) bool {
	return strings.HasPrefix(unit, "user-")
}

func (p *Plan) sort() {
	rank := func(u Unit) int {
		switch u.Name {
		case Manager:
			return 0
		case "ssh.service", "sshd.service":
			return 2
		default:
			return 1
		}
	}
	slices.SortFunc(p.Units, func(a, b Unit) int { return cmp.Or(rank(a)-rank(b), cmp.Compare(a.Name, b.Name)) })
	slices.SortFunc(p.Connections, func(a, b Unit) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(p.Sessions, func(a, b Unit) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(p.Reboot)
}

// Command is the shell command that executes the plan's restarts. It tells each unit that failed on a line
// "failed UNIT", and goes on with the next.
func (p *Plan) Command() string {
	var line strings.Builder
	for _, u := range p.Units {
		action := "systemctl restart -- '" + strings.ReplaceAll(u.Name, "'", "") + "'"
		if u.Name == Manager {
			action = "systemctl daemon-reexec"
		}
		line.WriteString(action + " || echo 'failed " + strings.ReplaceAll(u.Name, "'", "") + "'; ")
	}
	return line.String()
}

// Failed reads the output of [Plan.Command].
func Failed(output string) []string {
	var units []string
	for line := range strings.Lines(output) {
		if unit, found := strings.CutPrefix(strings.TrimSpace(line), "failed "); found {
			units = append(units, unit)
		}
	}
	return units
}

func summary(reasons []string) string {
	const most = 2 // enough to understand; the facts hold all
	slices.Sort(reasons)
	if len(reasons) > most {
		return strings.Join(reasons[:most], ", ") + ", ..."
	}
	return strings.Join(reasons, ", ")
}
