package judge

import (
	"cmp"

	"github.com/patchlab/patchlab/harness/audit"
	"github.com/patchlab/patchlab/harness/verdict"
)

// Audit takes what the audit before a reboot has found: old of the unpatched guest, found of this one. What is no news is old rot.
// increment is to blame for the rest where it is the only one; else the one that moved what a finding is about.
func (j *Judge) Audit(old, found []audit.Finding, increment string) {
	var rot []verdict.Finding
	for _, f := range old {
		f.Phase = "baseline"
		rot = append(rot, f.Finding)
	}
	j.remember(j.unpatched, rot, "")
	for _, f := range found {
		f.Increment = cmp.Or(increment, j.guilty(f.Finding), j.since[f.About])
		j.add(f.Finding, Boundary{Phase: "audit"})
	}
}
