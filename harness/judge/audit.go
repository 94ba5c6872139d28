package judge

import (
	"cmp"

	"github.com/patchlab/patchlab/harness/audit"
	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// Audit takes what the audit before a reboot has found: old of the unpatched guest, found of this one. What is no news is old rot.
// increment is to blame for the rest where it is the only one; else the one that moved what a finding is about.
func (j *Judge) Audit(old, found []audit.Finding, increment string) {
	if !j.base.Vacation { // there the unpatched guest itself is asked
		var rot []verdict.Finding
		for _, f := range old {
			f.Phase = "baseline"
			rot = append(rot, f.Finding)
		}
		j.remember(j.unpatched, rot, "")
	}
	for _, f := range found {
		if j.announced(f.Subject) {
			continue
		}
		f.Increment = cmp.Or(increment, j.guilty(f.Finding), j.since[f.About])
		j.add(f.Finding, Boundary{Phase: "audit"})
	}
}

// announced tells whether an allowance names a kernel, or a thing that only the boot depends on. That a file or a unit may change does
// not say that the guest need not come back.
func (j *Judge) announced(subject fact.Key) bool {
	if subject.Kind != fact.KindKernel && subject.Kind != fact.KindBoot {
		return false
	}
	_, ok := j.allowance(drift.Drift{Key: subject})
	return ok
}
