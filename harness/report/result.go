// Package report is what comes out of a run: the result file, JUnit for CI servers, and the summary that a person reads.
package report

import (
	"github.com/patchlab/patchlab/harness/verdict"
)

// ResultSchema is the version of [Result]. Fields are added within a version, never changed or removed.
const ResultSchema = 1

// Result is result.json: everything that a run found, with references to its evidence. All times are in seconds.
type Result struct {
	Schema   int               `json:"schema"`
	Run      string            `json:"run"`
	Scenario string            `json:"scenario"`
	Image    Image             `json:"image"`
	Lock     Lock              `json:"lock"`
	Outcome  verdict.Outcome   `json:"outcome"`
	Vacation bool              `json:"vacation,omitempty"` // there was no patch: findings are what does not come back
	Reason   string            `json:"reason,omitempty"`   // for testbed and interrupted: what happened, and the remedy
	Findings []verdict.Finding `json:"findings"`
	Boots    []Boot            `json:"boots"`
	Guilty   []string          `json:"guilty"` // increments named by blamed findings
	Packages []PackageChange   `json:"packages"`
	Advice   Advice            `json:"advice"`
	Rollback Rollback          `json:"rollback"`
	Fallback *Fallback         `json:"fallback,omitempty"` // where the candidate has touched kernels or the boot loader
	// Fallbacks are those that were tried after increments that others follow, in order.
	Fallbacks []*Fallback `json:"fallbacks,omitempty"`
	Rescue    *Rescue     `json:"rescue,omitempty"` // after a boot that failed
	Suites    []SuiteRun  `json:"suites"`
	Truth     *Truth      `json:"truth,omitempty"`
	Phases    []Phase     `json:"phases"`
	Counts    Counts      `json:"counts"`
	Host      Host        `json:"host"`
	Clones    Clones      `json:"clones,omitzero"`
	RunDir    string      `json:"run_dir"`
}

// Image that was cloned.
type Image struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	// Given is the digest of the derived image in which the scenario's given state is there, if it has one.
	Given string `json:"given,omitempty"`
}

// Clones tells how the run's clones came to life.
type Clones struct {
	Start string `json:"start"` // warm: they went on from a template; cold: they were booted
	// Why they were booted.
	Why string `json:"why,omitempty"`
	// Asked says that a person wanted them booted.
	Asked bool `json:"asked,omitempty"`
}

// Lock is the frozen candidate: the digest of every file that was applied.
type Lock struct {
	Digest string `json:"digest"`
}

// Boot is one requested boot.
type Boot struct {
	Mode    string  `json:"mode"`  // start, resume, clean, power-cut, panic; fallback: by another menu entry; default: back from there
	Entry   string  `json:"entry"` // the kernel release that ran
	Stage   string  `json:"stage"` // ready when it settled, else where it ended
	Seconds float64 `json:"seconds"`
	Cause   string  `json:"cause,omitempty"`
	Canary  *Canary `json:"canary,omitempty"` // of the power cut before it
}

// Canary tells what a power cut was like: what became of a file that had been flushed to the disk before it, and of one that was
// written just before it.
type Canary struct {
	Synced   string `json:"synced,omitempty"`   // kept, or lost
	Unsynced string `json:"unsynced,omitempty"` // lost, or kept
	Why      string `json:"why,omitempty"`      // it is not as it should be, or nobody knows
}

// What becomes of a file.
const (
	Kept = "kept"
	Lost = "lost"
)

// PackageChange is one package that the candidate moved.
type PackageChange struct {
	Name      string `json:"name"`
	From      string `json:"from,omitempty"` // "" = new
	To        string `json:"to,omitempty"`   // "" = removed
	Increment string `json:"increment"`
}

// Advice is what has to be restarted after the candidate, and why.
type Advice struct {
	Restart []Restart    `json:"restart"`
	Reboot  RebootAdvice `json:"reboot"`
}

// Restart of one unit.
type Restart struct {
	Unit   string `json:"unit"`
	Reason string `json:"reason"`
	Done   bool   `json:"done"`
}

// RebootAdvice tells whether only a reboot is enough.
type RebootAdvice struct {
	Needed  bool     `json:"needed"`
	Reasons []string `json:"reasons"`
}

// Rollback tells which ways back were proven.
type Rollback struct {
	Proven bool     `json:"proven"`
	Routes []string `json:"routes"`
}

// Fallback tells whether the kernel that is left beside the patched one was seen to boot.
type Fallback struct {
	// Increment after which it was tried; empty for the one at the end.
	Increment string `json:"increment,omitempty"`

	Proven bool   `json:"proven"` // it booted, with all services as before the patch
	Kernel string `json:"kernel,omitempty"`
	Entry  string `json:"entry,omitempty"` // its place in the boot menu, as it is shown there
	Why    string `json:"why,omitempty"`   // it is not proven
}

// Rescue tells which way out of a boot that failed was found: what was executed, not what might help.
type Rescue struct {
	Found bool     `json:"found"`
	Way   string   `json:"way,omitempty"` // the last of those that were tried
	Tried []WayOut `json:"tried"`         // in order; the first that worked is the last
}

// WayOut is one way out of a boot that failed, as it was tried.
type WayOut struct {
	Way     string   `json:"way"`
	Worked  bool     `json:"worked"` // the guest settled, and answered over ssh
	Why     string   `json:"why,omitempty"`
	Seconds float64  `json:"seconds"`
	Steps   []string `json:"steps,omitempty"` // for a person at the console
	Kernel  string   `json:"kernel,omitempty"`
	Lacks   []string `json:"lacks,omitempty"` // what was not as before the patch
	// Evidence is files in the run directory: the screens in which somebody chose, and what a repair said.
	Evidence []string `json:"evidence,omitempty"`
}

// SuiteRun sums up one execution of the suites.
type SuiteRun struct {
	Phase   string `json:"phase"`
	Passed  int    `json:"passed"`
	Failed  int    `json:"failed"`
	Skipped int    `json:"skipped"`
}

// Phase is one step of the run.
type Phase struct {
	Name      string  `json:"name"`
	Increment string  `json:"increment,omitempty"`
	Mode      string  `json:"mode,omitempty"` // of a reboot
	Seconds   float64 `json:"seconds"`
	Status    string  `json:"status"` // done, failed, skipped, cached
	// Steps splits the seconds: boot (waiting for the guest), capture (reading facts), suites, ...
	Steps map[string]float64 `json:"steps,omitempty"`
	// Restarted are the units that the phase restarted, in this order.
	Restarted []string `json:"restarted,omitempty"`
}

// Counts of what was compared, and of drifts by class. Volatile drifts are not counted: how many there are is chance, and a
// result is the same for the same behaviour.
type Counts struct {
	Facts    int `json:"facts"` // of the baseline
	Expected int `json:"expected"`
	Allowed  int `json:"allowed"`
	Findings int `json:"findings"`
}

// Host tells on what the run was measured.
type Host struct {
	Hypervisor  string  `json:"hypervisor"`
	Accelerator string  `json:"accelerator"`
	Slowness    float64 `json:"slowness"` // 1 = KVM
}
