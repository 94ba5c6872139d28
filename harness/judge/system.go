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

// ruleKernel: which kernel runs. What the boot loader would start, and what is left to fall back to, is for the audit before the reboot,
// which looks at all of it together.
func (h *hearing) ruleKernel(d drift.Drift) ruling {
	running := d.Key.Name == "running"
	switch {
	case isChosen(d.Key.Name) && d.Change == drift.Changed && d.Is["release"] == "":
		return h.ruleSameKernel(d)
	case running && h.Fallback != "" && d.Is["release"] == h.Fallback:
		return expected("it was chosen in the boot menu")
	case running && !h.Rebooted:
		return finding(warn("PL709", d, "another kernel runs without a reboot"))
	case running:
		return h.ruleOtherKernel(d)
	default:
		return expected("judged by the audit before the reboot")
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

// ruleOtherKernel: after a kernel update the new one must run, and no other.
func (h *hearing) ruleOtherKernel(d drift.Drift) ruling {
	release := d.Is["release"]
	if _, there := h.Facts.Get(fact.KindKernel, "installed:"+release); !there {
		return finding(fault("PL709", d, "kernel "+release+" runs, which is not installed"))
	}
	if _, before := h.base.Baseline.Get(fact.KindKernel, "installed:"+release); before {
		return finding(fault("PL709", d, "the running kernel went back to "+release))
	}
	return expected("the candidate brought kernel " + release)
}
