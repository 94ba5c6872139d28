package judge

import (
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
)

func (h *hearing) ruleMount(d drift.Drift) ruling {
	switch d.Change {
	case drift.Removed:
		return finding(fault("PL804", d, d.Key.Name+" is not mounted any more"))
	case drift.Added:
		return finding(warn("PL804", d, d.Key.Name+" is mounted now"))
	default:
		if readOnly(d.Is["options"]) && !readOnly(d.Was["options"]) {
			return finding(fault("PL804", d, d.Key.Name+" is read-only now"))
		}
		return finding(warn("PL804", d, d.Key.Name+" is mounted differently"))
	}
}

func readOnly(options string) bool {
	return options == "ro" || strings.HasPrefix(options, "ro,")
}

// ruleKernel: the kernels that are installed, running, and the one that the boot loader would start.
func (h *hearing) ruleKernel(d drift.Drift) ruling {
	name := d.Key.Name
	switch {
	case isChosen(name) && d.Change == drift.Changed && d.Is["release"] == "":
		return h.ruleSameKernel(d)
	case name == "running" && h.Fallback != "" && d.Is["release"] == h.Fallback:
		return expected("it was chosen in the boot menu")
	case name == "running" && !h.Rebooted:
		return finding(warn("PL709", d, "another kernel runs without a reboot"))
	case isChosen(name):
		return h.ruleChosenKernel(d)
	case d.Change == drift.Added:
		return h.ruleNewKernel(d)
	case d.Change == drift.Removed && len(installedKernels(h.Facts)) < 2:
		return finding(fault("PL702", d, strings.TrimPrefix(name, "installed:")+" was the fallback, and is gone"))
	case d.Change == drift.Removed:
		return finding(warn("PL702", d, "kernel "+strings.TrimPrefix(name, "installed:")+" was removed"))
	case d.Is["initrd"] == "" && d.Was["initrd"] != "":
		return finding(fault("PL701", d, "the initrd of "+strings.TrimPrefix(name, "installed:")+" is gone"))
	default:
		return expected("its files were made anew")
	}
}

func isChosen(name string) bool { return name == "running" || name == "default" }

// ruleSameKernel: the release stayed; how it is started may have moved.
func (h *hearing) ruleSameKernel(d drift.Drift) ruling {
	if _, moved := d.Is["cmdline"]; moved {
		return finding(warn("PL401", d, "the command line of the "+d.Key.Name+" kernel was changed"))
	}
	return expected("the boot loader's entry was made anew for the same kernel")
}

// ruleChosenKernel: after a kernel update the new one must be the default before the reboot, and run after it.
func (h *hearing) ruleChosenKernel(d drift.Drift) ruling {
	if d.Key.Name == "default" && d.Change == drift.Removed {
		return finding(fault("PL703", d, "the boot loader's configuration names no kernel to start any more"))
	}
	release := d.Is["release"]
	if _, there := h.Facts.Get(fact.KindKernel, "installed:"+release); !there {
		return finding(fault("PL701", d, "the "+d.Key.Name+" kernel "+release+" is not installed"))
	}
	if _, before := h.base.Baseline.Get(fact.KindKernel, "installed:"+release); before {
		return finding(fault("PL709", d, "the "+d.Key.Name+" kernel went back to "+release))
	}
	return expected("the candidate brought kernel " + release)
}

// ruleNewKernel: a kernel that is installed but would not be started is the classic half-done update.
func (h *hearing) ruleNewKernel(d drift.Drift) ruling {
	release := strings.TrimPrefix(d.Key.Name, "installed:")
	if d.Is["initrd"] == "" {
		return finding(fault("PL701", d, "kernel "+release+" has no initrd"))
	}
	chosen, known := h.Facts.Get(fact.KindKernel, "default")
	if known && chosen.Attribute("release") != release {
		return finding(fault("PL709", d,
			"kernel "+release+" is installed, but the boot loader starts "+chosen.Attribute("release")))
	}
	return expected("the candidate brought it")
}

func installedKernels(s fact.Set) []fact.Fact {
	var found []fact.Fact
	for _, f := range s.OfKind(fact.KindKernel) {
		if strings.HasPrefix(f.Name, "installed:") {
			found = append(found, f)
		}
	}
	return found
}
