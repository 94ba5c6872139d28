// Package verdict holds what a run says in the end: findings with stable ids, and the outcome by one rule.
package verdict

import (
	"cmp"
	"slices"

	"github.com/patchlab/patchlab/harness/fact"
)

// Outcome is the one word that a run ends with.
type Outcome string

// The outcomes.
const (
	Pass        Outcome = "pass"
	Regression  Outcome = "regression"
	ApplyFailed Outcome = "apply-failed"
	BootFailed  Outcome = "boot-failed"
	Testbed     Outcome = "testbed" // the lab failed: nothing is said about the patch
	Interrupted Outcome = "interrupted"
)

// Severity of a finding.
type Severity string

// The severities. Only an error that is blamed on the candidate changes the outcome.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Finding is a statement with its evidence.
type Finding struct {
	ID        string     `json:"id"` // PLnnn, see [Catalogue]
	Severity  Severity   `json:"severity"`
	Title     string     `json:"title"`          // one sentence for this case, with the subject's name
	Phase     string     `json:"phase"`          // the phase after which it was seen first
	Mode      string     `json:"mode,omitempty"` // of the reboot after which it was seen
	Increment string     `json:"increment,omitempty"`
	Package   string     `json:"package,omitempty"`
	Subject   fact.Key   `json:"subject"`
	Was       string     `json:"was,omitempty"`
	Is        string     `json:"is,omitempty"`
	Cause     string     `json:"cause,omitempty"`
	Remedy    string     `json:"remedy,omitempty"`
	Evidence  []Evidence `json:"evidence,omitempty"`
	// OldRot is a fault that the unpatched guest has as well: told, never blamed.
	OldRot bool `json:"old_rot,omitempty"`
}

// Evidence points into the run directory.
type Evidence struct {
	File  string   `json:"file"`            // relative to the run directory
	Lines []string `json:"lines,omitempty"` // the telling lines, quoted
}

// Blamed tells whether the finding is an error of the candidate.
func (f Finding) Blamed() bool { return f.Severity == Error && !f.OldRot }

// Sort orders findings by severity, id and subject, so that the same run prints the same bytes.
func Sort(findings []Finding) {
	rank := map[Severity]int{Error: 0, Warning: 1, Info: 2}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), cmp.Compare(a.ID, b.ID),
			cmp.Compare(a.Subject.String(), b.Subject.String()), cmp.Compare(a.Phase, b.Phase))
	})
}
