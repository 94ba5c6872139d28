package main

import (
	"fmt"
	"strings"

	"github.com/patchlab/patchlab/harness/scenario"
)

// planned is what a run would do.
type planned struct {
	Scenario string   `json:"scenario"`
	Image    string   `json:"image"`
	Steps    []string `json:"steps"`
}

// plan says what runs would do, without doing it.
func plan(env *environment, loaded []scenario.Scenario) error {
	plans := make([]planned, 0, len(loaded))
	for _, s := range loaded {
		plans = append(plans, planned{Scenario: s.Name, Image: s.Image, Steps: steps(s)})
	}
	var b strings.Builder
	for _, p := range plans {
		fmt.Fprintf(&b, "%s on a clone of %s:\n", p.Scenario, p.Image)
		for i, step := range p.Steps {
			fmt.Fprintf(&b, "  %d. %s\n", i+1, step)
		}
	}
	return env.render(plans, text(b.String()))
}

func steps(s scenario.Scenario) []string {
	var all []string
	if s.Given != nil {
		all = append(all, "make the state that is given (kept for the next run): "+strings.Join(acts(*s.Given), ", then "))
	}
	all = append(all, "read the baseline, and what an unpatched reboot changes (cached for the image)")
	if len(s.Hold) > 0 {
		all = append(all, "open a connection to "+strings.Join(s.Hold, ", ")+" and hold it until the reboot")
	}
	for _, i := range s.Increments {
		all = append(all, "apply "+i.Name+": "+strings.Join(acts(i), ", then "))
	}
	switch s.Restart {
	case scenario.RestartAdvised:
		all = append(all, "after each, restart the services that still run replaced files")
	case scenario.RestartAll:
		all = append(all, "after each, restart all services")
	case scenario.RestartNone:
	}
	for _, mode := range s.Reboot {
		all = append(all, rebootActs[mode])
	}
	return append(all, fmt.Sprintf("compare with the baseline, with the suites %s and %d expectations",
		strings.Join(s.Suites, ", "), len(s.Expect)))
}

// rebootActs say what is done for each way to reboot.
var rebootActs = map[scenario.Reboot]string{
	scenario.RebootClean:    "reboot (clean) and prove it",
	scenario.RebootPowerCut: "cut the power, give it back, and prove that what was flushed to the disk survived (power-cut)",
	scenario.RebootPanic:    "have the kernel panic, and see whether the machine comes back by itself (panic)",
}

// acts lists what one increment does, in its order.
func acts(i scenario.Increment) []string {
	var all []string
	for _, f := range i.Files {
		all = append(all, "copy "+f.From+" to "+f.To)
	}
	if i.APT != nil {
		what := strings.Join(i.APT.Packages, " ")
		if what == "" {
			what = "everything pending"
		}
		all = append(all, fmt.Sprintf("install %s from %s (%s)", what, i.APT.Suite, i.APT.Mode))
	}
	if len(i.Packages) > 0 {
		all = append(all, "install "+strings.Join(i.Packages, " "))
	}
	if i.Script != "" {
		all = append(all, "run "+i.Script)
	}
	if i.Services != nil && len(i.Services.Restart) > 0 {
		all = append(all, "restart "+strings.Join(i.Services.Restart, " "))
	}
	return all
}
