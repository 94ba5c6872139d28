// Package judge decides what each drift means: which drifts a candidate explains, which happen without it, which were
// announced, and which are findings, with the increment and the phase that brought them.
//
// Each kind of fact has its rules in a file of its own. A rule looks at one drift in the light of the others and never
// at a class of drifts as a whole.
package judge

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// Case is what a judge knows before the first increment.
type Case struct {
	Baseline fact.Set
	// Samples are further sets of the same unpatched guest before any reboot; Control is the set after an unpatched reboot.
	Samples    []fact.Set
	Control    fact.Set
	Allowances []scenario.Allowance
	Restart    scenario.Restart // the policy: without restarts a stale process is a fault of the plan
	Now        time.Time        // decides whether an allowance has expired
}

// Boundary is the end of a phase, where facts were taken.
type Boundary struct {
	Phase     string // apply, settle, reboot
	Increment string // "" after the last one
	Rebooted  bool
	// RestartsPending says that stale processes are still to be restarted, or that a reboot is still to come.
	RestartsPending bool
	Facts           fact.Set
}

// Judge accumulates a verdict over the boundaries of a run, in their order.
type Judge struct {
	base     Case
	volatile drift.Volatility
	oldRot   map[subject]bool

	moved     map[string]string // package -> increment that moved it
	put       map[string]string // file -> increment that put it there by its own files:
	restarted map[string]bool   // units that patchlab restarted
	matched   map[int]bool      // allowances that matched something

	findings []verdict.Finding
	added    map[subject]bool // those that no drift showed, so that no drift's end heals them
	previous Boundary
	last     []drift.Drift
}

// subject is one statement about one fact: the identity of a finding.
type subject struct {
	id  string
	key fact.Key
}

// New prepares a judge, and learns from the control what is broken without any patch.
func New(c Case) *Judge {
	j := &Judge{
		base: c, oldRot: map[subject]bool{}, moved: map[string]string{}, put: map[string]string{},
		restarted: map[string]bool{}, matched: map[int]bool{}, added: map[subject]bool{},
	}
	j.volatile = drift.Learn(append([]fact.Set{c.Baseline}, c.Samples...)...)
	for _, f := range j.rot() {
		j.oldRot[subject{f.ID, f.Subject}] = true
		j.findings = append(j.findings, asOldRot(f))
	}
	j.volatile = drift.Learn(append([]fact.Set{c.Baseline, c.Control}, c.Samples...)...)
	return j
}

// rot judges the control as if it were a patched guest, and adds the units that had failed before it.
func (j *Judge) rot() []verdict.Finding {
	var found []verdict.Finding
	if j.base.Control.Len() > 0 {
		_, found = j.classify(Boundary{Phase: "control", Rebooted: true, Facts: j.base.Control})
	}
	for _, unit := range j.base.Baseline.OfKind(fact.KindUnit) {
		if unit.Attribute("active") == "failed" {
			found = append(found, verdict.Finding{
				ID: "PL101", Phase: "baseline", Subject: unit.Key(), Is: "failed (" + unit.Attribute("result") + ")",
				Title: unit.Name + " has failed already before the patch",
			})
		}
	}
	return slices.DeleteFunc(found, func(f verdict.Finding) bool { return f.Severity == verdict.Info })
}

// asOldRot turns a finding about the unpatched guest into the one that says so.
func asOldRot(f verdict.Finding) verdict.Finding {
	f.Cause = "the unpatched guest shows it as well (" + f.ID + "): the patch is not to blame"
	f.ID, f.Severity, f.OldRot = "PL108", verdict.Warning, true
	if entry, known := verdict.Lookup(f.ID); known {
		f.Remedy = entry.Remedy // what mends the fault depends on who made it: an administrator, long ago
	}
	return f
}

// Restarted notes units that patchlab restarted itself.
func (j *Judge) Restarted(units ...string) {
	for _, u := range units {
		j.restarted[u] = true
	}
}

// Put notes files that an increment puts into the guest by its own declaration.
func (j *Judge) Put(increment string, paths ...string) {
	for _, p := range paths {
		j.put[p] = increment
	}
}

// Moved returns the packages that differ from the baseline at the boundary, sorted by name.
func (j *Judge) Moved(at fact.Set) []drift.Drift {
	return slices.DeleteFunc(drift.Compare(j.base.Baseline, at), func(d drift.Drift) bool {
		return d.Key.Kind != fact.KindPackage || !movesPackage(d)
	})
}

// At judges the facts of a boundary. Findings are told with the first boundary that showed them; what an increment's own
// settling heals (a daemon that is down until its restart) is dropped again.
func (j *Judge) At(b Boundary) []drift.Drift {
	if b.Phase == "apply" {
		for _, d := range j.Moved(b.Facts) {
			if _, known := j.moved[PackageName(d.Key.Name)]; !known {
				j.moved[PackageName(d.Key.Name)] = b.Increment
			}
		}
	}
	drifts, found := j.classify(b)
	if b.Phase == "settle" && j.previous.Increment == b.Increment {
		j.dropHealed(found, b.Increment)
	}
	for _, f := range found {
		j.add(f, b)
	}
	j.previous, j.last = b, drifts
	return drifts
}

func (j *Judge) dropHealed(found []verdict.Finding, increment string) {
	still := map[subject]bool{}
	for _, f := range found {
		still[subject{f.ID, f.Subject}] = true
	}
	j.findings = slices.DeleteFunc(j.findings, func(f verdict.Finding) bool {
		told := j.added[subject{f.ID, f.Subject}]
		return f.Phase == "apply" && f.Increment == increment && !still[subject{f.ID, f.Subject}] && !told
	})
}

func (j *Judge) add(f verdict.Finding, b Boundary) {
	if j.oldRot[subject{f.ID, f.Subject}] {
		return
	}
	if slices.ContainsFunc(j.findings, func(o verdict.Finding) bool { return o.ID == f.ID && o.Subject == f.Subject }) {
		return
	}
	f.Phase, f.Increment = b.Phase, cmp.Or(b.Increment, j.guilty(f))
	j.findings = append(j.findings, f)
}

// guilty attributes a finding that showed only after the last increment: to the increment that is known to have touched
// the same subject, or that moved the package, or to the only one there is.
func (j *Judge) guilty(f verdict.Finding) string {
	for _, earlier := range j.findings {
		if earlier.Increment != "" && (earlier.Subject == f.Subject || earlier.Subject == j.owner(f.Subject)) {
			return earlier.Increment
		}
	}
	return j.moved[f.Package]
}

// owner is the unit to which a port or process belongs.
func (j *Judge) owner(key fact.Key) fact.Key {
	f, _ := j.base.Baseline.Get(key.Kind, key.Name)
	return fact.Key{Kind: fact.KindUnit, Name: f.Attribute("unit")}
}

// Add takes a finding that does not come from a drift (a failed apply, a boot that ended, a spec).
func (j *Judge) Add(f verdict.Finding) {
	j.findings = append(j.findings, f)
	j.added[subject{f.ID, f.Subject}] = true
}

// Findings returns all findings so far, sorted, with the unmatched and expired allowances.
func (j *Judge) Findings() []verdict.Finding {
	found := append(slices.Clone(j.findings), j.staleAllowances()...)
	verdict.Sort(found)
	return found
}

// Last returns the drifts of the last boundary.
func (j *Judge) Last() []drift.Drift { return j.last }

// Increments returns the increments that moved packages, by package.
func (j *Judge) Increments() map[string]string { return maps.Clone(j.moved) }
