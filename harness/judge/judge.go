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
	// Samples are further sets of the same unpatched guest before any reboot; Control is the set after an unpatched reboot, and
	// Controls those after other ways to reboot it, by their names: what the guest does after a power cut excuses nothing else.
	Samples    []fact.Set
	Control    fact.Set
	Controls   map[string]fact.Set
	Allowances []scenario.Allowance
	Restart    scenario.Restart // the policy: without restarts a stale process is a fault of the plan
	Now        time.Time        // decides whether an allowance has expired
	// Vacation says that there is no patch: what is broken already is what is asked for.
	Vacation bool
}

// Boundary is the end of a phase, where facts were taken.
type Boundary struct {
	Phase     string // apply, settle, reboot
	Increment string // "" after the last one
	Rebooted  bool
	Mode      string // how it was rebooted
	// RestartsPending says that stale processes are still to be restarted, or that a reboot is still to come.
	RestartsPending bool
	Facts           fact.Set
	// Fallback is the release of the kernel that was started on purpose, instead of the default; "" where none was.
	Fallback string
}

// Judge accumulates a verdict over the boundaries of a run, in their order.
type Judge struct {
	base      Case
	unpatched unpatched            // what is known of the guest without the patch
	after     map[string]unpatched // and of what it does after some ways to reboot

	moved     map[string]string   // package -> increment that moved it
	put       map[string]string   // file -> increment that put it there by its own files:
	restarted map[string]bool     // units that patchlab restarted
	matched   map[int]bool        // allowances that matched something
	since     map[fact.Key]string // what drifted -> the increment after which it first did

	findings []verdict.Finding
	added    map[subject]bool // those that no drift showed, so that no drift's end heals them
	previous Boundary
	last     []drift.Drift
}

// unpatched is what the guest was seen to do without the patch.
type unpatched struct {
	volatile drift.Volatility
	oldRot   map[subject]bool
}

// unpatchedAt is what the guest does without the patch after the same kind of reboot.
func (j *Judge) unpatchedAt(mode string) unpatched {
	if known, isOther := j.after[mode]; isOther {
		return known
	}
	return j.unpatched
}

// subject is one statement about one fact: the identity of a finding.
type subject struct {
	id  string
	key fact.Key
}

// New prepares a judge, and learns from the controls what is broken without any patch.
func New(c Case) *Judge {
	j := &Judge{
		base: c, after: map[string]unpatched{}, moved: map[string]string{}, put: map[string]string{},
		restarted: map[string]bool{}, matched: map[int]bool{}, added: map[subject]bool{}, since: map[fact.Key]string{},
	}
	samples := append([]fact.Set{c.Baseline}, c.Samples...)
	j.unpatched = unpatched{drift.Learn(samples...), map[subject]bool{}}
	rot := j.failedBefore()
	if c.Control.Len() > 0 {
		samples = append(samples, c.Control)
		rot = append(j.rot(c.Control), rot...)
	}
	j.unpatched.volatile = drift.Learn(samples...)
	j.remember(j.unpatched, rot, "")
	for _, mode := range slices.Sorted(maps.Keys(c.Controls)) {
		own := unpatched{j.unpatched.volatile, maps.Clone(j.unpatched.oldRot)}
		rot := j.rot(c.Controls[mode])
		own.volatile = drift.Learn(append(slices.Clone(samples), c.Controls[mode])...)
		j.remember(own, rot, mode)
		j.after[mode] = own
	}
	return j
}

// remember tells what is broken without the patch, once.
func (j *Judge) remember(known unpatched, rot []verdict.Finding, mode string) {
	for _, f := range rot {
		if known.oldRot[subject{f.ID, f.Subject}] {
			continue
		}
		known.oldRot[subject{f.ID, f.Subject}] = true
		f.Mode = mode
		if f = asOldRot(f); j.base.Vacation {
			f.Severity, f.OldRot, f.Cause = verdict.Error, false, ""
		}
		j.findings = append(j.findings, f)
	}
}

// rot judges a control as if it were a patched guest.
func (j *Judge) rot(control fact.Set) []verdict.Finding {
	_, found := j.classify(Boundary{Phase: "control", Rebooted: true, Facts: control})
	return slices.DeleteFunc(found, func(f verdict.Finding) bool { return f.Severity == verdict.Info })
}

// failedBefore tells the units that had failed before any reboot.
func (j *Judge) failedBefore() []verdict.Finding {
	var found []verdict.Finding
	for _, unit := range j.base.Baseline.OfKind(fact.KindUnit) {
		if unit.Attribute("active") == "failed" {
			found = append(found, verdict.Finding{
				ID: "PL101", Phase: "baseline", Subject: unit.Key(), Is: "failed (" + unit.Attribute("result") + ")",
				Title: unit.Name + map[bool]string{false: " has failed already before the patch", true: " has failed before the reboot already"}[j.base.Vacation],
			})
		}
	}
	return found
}

// asOldRot turns a finding about the unpatched guest into the one that says so.
func asOldRot(f verdict.Finding) verdict.Finding {
	shows := "the unpatched guest shows it as well ("
	if f.Mode != "" {
		shows = "the unpatched guest shows it after a " + f.Mode + " as well ("
	}
	f.Cause = shows + f.ID + "): the patch is not to blame"
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
	j.attribute(drifts, b.Increment)
	if b.Phase == "settle" && j.previous.Increment == b.Increment {
		j.dropHealed(found, b.Increment)
	}
	for _, f := range found {
		j.add(f, b)
	}
	j.previous, j.last = b, drifts
	return drifts
}

// Beyond judges the facts of a boot that was only tried, and returns the errors that no boundary has shown. It remembers nothing of
// them.
func (j *Judge) Beyond(b Boundary) []verdict.Finding {
	_, found := j.classify(b)
	return slices.DeleteFunc(found, func(f verdict.Finding) bool {
		return j.Tells(f.ID, f.Subject) || j.unpatchedAt(b.Mode).oldRot[subject{f.ID, f.Subject}] || !f.Blamed()
	})
}

// attribute notes the increment that moved each fact.
func (j *Judge) attribute(drifts []drift.Drift, increment string) {
	for _, d := range drifts {
		if _, known := j.since[d.Key]; !known && increment != "" && d.Class != drift.Volatile {
			j.since[d.Key] = increment
		}
	}
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
	if j.unpatchedAt(b.Mode).oldRot[subject{f.ID, f.Subject}] {
		return
	}
	if j.Tells(f.ID, f.Subject) {
		return
	}
	f.Phase, f.Mode, f.Increment = b.Phase, b.Mode, cmp.Or(b.Increment, f.Increment, j.guilty(f))
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
	return cmp.Or(j.since[f.Subject], j.moved[f.Package])
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

// Tells says whether there is a finding of this kind about a fact already.
func (j *Judge) Tells(id string, about fact.Key) bool {
	return slices.ContainsFunc(j.findings, func(f verdict.Finding) bool { return f.ID == id && f.Subject == about })
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
