package harness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// PhaseRescue is the phase in which the ways out of a boot that failed are tried.
const PhaseRescue = "rescue"

// bootRescue is the mode of a boot in it that succeeded.
const bootRescue = "rescue"

// wayOut leads from a guest that does not boot any more to one that answers over ssh.
type wayOut struct {
	name string
	// try turns the clone on in this way and waits until it has settled. Its error is a [noWayError] or one of a boot that failed, if it
	// is the guest that it does not lead anywhere in.
	try func(context.Context, *clone, *attempt) error
}

// attempt is a way that is under way.
type attempt struct {
	phase  *phase
	name   string
	died   boot.Seen // why there is an attempt
	steps  []string  // what was done, as a person does it
	seen   []string  // files of what a person had in front of them
	kernel string    // that came up
	lacks  []string  // what came up without
}

func (a *attempt) did(format string, arguments ...any) {
	a.steps = append(a.steps, fmt.Sprintf(format, arguments...))
	a.phase.note("%s: %s", a.name, a.steps[len(a.steps)-1])
}

// noWayError is a way that does not lead out, and why: the guest is to blame, not the lab.
type noWayError struct{ why string }

func (e *noWayError) Error() string { return e.why }

// waysOut are tried in this order: what costs least at the console comes first.
func (r *run) waysOut() []wayOut {
	return []wayOut{
		{"previous kernel", r.bootPreviousKernel},
		{"command line", r.bootCommandLine},
		{"repair from outside", r.bootRepaired},
		{"snapshot", r.bootSnapshot},
	}
}

// rescue looks for the first way out of the boot that failed, and tells its steps. Whatever comes of it, the verdict stands: what the
// lab spoils is only told.
func (r *run) rescue(ctx context.Context, c *clone) {
	if !r.rescues() || r.died == nil {
		return
	}
	r.result.Rescue = &report.Rescue{Tried: []report.WayOut{}}
	_ = r.phase(PhaseRescue, "", func(p *phase) error { return r.findWayOut(ctx, c, p, r.result.Rescue) }) // told by the phase
}

func (r *run) findWayOut(ctx context.Context, c *clone, p *phase, told *report.Rescue) error {
	var spoiled error
	for _, way := range r.waysOut() {
		a := &attempt{phase: p, name: way.name, died: *r.died}
		took, err := p.step(way.name, func() error { return r.tryWayOut(ctx, c, way, a) })
		tried := report.WayOut{Way: way.name, Worked: err == nil, Seconds: took, Steps: a.steps, Kernel: a.kernel, Lacks: a.lacks, Evidence: a.seen}
		if err != nil {
			tried.Why = err.Error()
			p.note("%s: %s", way.name, tried.Why)
		}
		told.Tried = append(told.Tried, tried)
		switch {
		case err == nil:
			told.Found, told.Way = true, way.name
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !isGuests(err):
			spoiled = errors.Join(spoiled, fmt.Errorf("%s: %w", way.name, err))
		}
	}
	if spoiled == nil {
		r.tellNoRescue(told)
	}
	return spoiled
}

// isGuests tells whether a way out has failed because of the guest.
func isGuests(err error) bool {
	_, noWay := errors.AsType[*noWayError](err)
	_, isOver := errors.AsType[*bootOverError](err)
	_, isSilent := errors.AsType[*noAnswerError](err)
	return noWay || isOver || isSilent
}

func (r *run) tryWayOut(ctx context.Context, c *clone, way wayOut, a *attempt) error {
	clean := r.controlOf(scenario.RebootClean)
	bound := r.bounds.Shutdown + r.bounds.Settle + 2*clean.bootBound() // there is a boot in each, and a person's work
	ctx, cancel := context.WithTimeoutCause(ctx, bound, &noAnswerError{bound: bound})
	defer cancel()
	err := way.try(ctx, c, a)
	if cause := context.Cause(ctx); err != nil && ctx.Err() != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

func (r *run) tellNoRescue(told *report.Rescue) {
	f := verdict.Finding{
		ID: "PL711", Severity: verdict.Warning, Phase: PhaseRescue, Increment: r.onlyIncrement(),
		Subject: fact.Key{Kind: "boot", Name: "rescue"}, Title: "none of the ways out of the boot that failed leads to a guest that answers",
	}
	var lines []string
	for _, way := range told.Tried {
		lines = append(lines, way.Way+": "+way.Why)
	}
	f.Evidence = []verdict.Evidence{{File: rundir.Events, Lines: lines}}
	r.judge.Add(withRemedy(f))
}

// comesUp waits until the guest that was just turned on, or let go on, has settled, and compares what came up with the baseline.
func (r *run) comesUp(ctx context.Context, c *clone, a *attempt) error {
	clean := r.controlOf(scenario.RebootClean)
	began := r.lab.Now()
	followed, f := c.follow(ctx, boot.Watch{Control: clean.Stages, PowerOn: true})
	defer f.stop()
	if err := c.awaitBoot(followed, clean.bootBound(), "", nil); err != nil {
		return whyOver(followed, err)
	}
	f.answered()
	settled, err := c.settle(followed)
	if err != nil {
		return whyOver(followed, err)
	}
	took := seconds(r.lab.Now().Sub(began))
	if err := f.look(); err != nil { // it may have begun once more since it was last looked at
		return err
	}
	facts, err := r.capture(ctx, c, a.phase, PhaseRescue)
	if err != nil {
		return err
	}
	a.kernel = runningKernel(facts)
	r.addBoot(report.Boot{Mode: bootRescue, Entry: a.kernel, Stage: string(boot.Ready), Seconds: took}, c.bootID)
	for _, job := range settled.Jobs {
		a.lacks = append(a.lacks, jobHangs(job).Title)
	}
	for _, lost := range r.judge.Beyond(judge.Boundary{Phase: PhaseRescue, Rebooted: true, Facts: facts, Fallback: a.kernel}) {
		if !isGrubEnvironment(lost.Subject) {
			a.lacks = append(a.lacks, lost.Title)
		}
	}
	return nil
}

// argumentsFor is what helps on the kernel's command line against the end of a boot, as far as its cause tells; "" if nothing does.
// Names come from the guest: only that of a unit is typed.
func (r *run) argumentsFor(died boot.Seen) string {
	switch {
	case died.State == boot.Looped && died.IsPast(boot.Initramfs):
		return r.maskNew()
	case isUnitName(died.Job.Unit):
		return "systemd.mask=" + died.Job.Unit
	case failedMount.MatchString(died.Cause):
		return "fstab=no rw" // without the table nothing else makes the root file system writable
	case died.Stage == boot.Initramfs && died.State != boot.Looped:
		return r.rootArgument()
	default:
		return ""
	}
}

// maskNew leaves out the units that the candidate has the boot start, as far as they can be typed; "" without one.
func (r *run) maskNew() string {
	const most = 4
	var words []string
	for _, f := range r.judge.Findings() {
		if f.ID == "PL102" && f.Blamed() && isUnitName(f.Subject.Name) && len(words) < most {
			words = append(words, "systemd.mask="+f.Subject.Name)
		}
	}
	return strings.Join(words, " ")
}

// defaultKernel is the release that the boot loader starts by itself, as was known before the boot that failed; if that says nothing,
// the one from before the patch.
func (r *run) defaultKernel() string {
	if f, ok := r.facts.Get(fact.KindKernel, "default"); ok {
		return f.Attribute("release")
	}
	return runningKernel(r.known.Baseline)
}

// rootArgument is how the kernel was told of its root file system without the patch.
func (r *run) rootArgument() string {
	running, _ := r.known.Baseline.Get(fact.KindKernel, "running")
	for word := range strings.FieldsSeq(running.Attribute("cmdline")) {
		if strings.HasPrefix(word, "root=") {
			return word
		}
	}
	return ""
}

// otherReleases are the installed kernels beside the one that is started by itself, that from before the patch first.
func (r *run) otherReleases() []string {
	var others []string
	for _, f := range r.facts.OfKind(fact.KindKernel) {
		if release, isInstalled := strings.CutPrefix(f.Name, "installed:"); isInstalled && release != r.defaultKernel() {
			others = append(others, release)
		}
	}
	before := runningKernel(r.known.Baseline)
	slices.SortStableFunc(others, func(a, b string) int {
		switch {
		case a == before:
			return -1
		case b == before:
			return 1
		default:
			return 0
		}
	})
	return others
}

// keepSeen writes down what a person would have in front of them.
func (r *run) keepSeen(a *attempt, text []byte) error {
	file := filepath.Join(rundir.Rescue, fmt.Sprintf("%s-%d.txt", strings.ReplaceAll(a.name, " ", "-"), len(a.seen)+1))
	a.seen = append(a.seen, file)
	return r.dir.Write(file, append(slices.Clone(text), '\n'))
}
