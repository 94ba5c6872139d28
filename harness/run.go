package harness

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/patch/proxy"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/secret"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/harness/verdict"
)

// run is one execution of a scenario.
type run struct {
	lab      Lab
	scenario scenario.Scenario
	options  RunOptions
	bounds   timing.Timeouts
	host     Host

	dir       *rundir.Dir
	commands  *os.File
	events    *os.File
	downloads *os.File // what the guest asked of the package proxy
	sink      progress.Sink
	hider     *secret.Hider
	stands    []image.Image // the images below the clone's disk, each held
	image     image.Image   // the uppermost of them but for the template
	template  *image.Image  // that clones go on from; nil while they are booted
	// imageFiles is what is known of the files of the image, or of a guest that was just booted from it; files, of a clone as it
	// begins.
	imageFiles *probe.Files
	files      *probe.Files
	known      known
	controls   map[scenario.Reboot]control // of the ways to reboot beside the clean one
	judge      *judge.Judge
	facts      fact.Set // as last taken
	served     *proxy.Proxy
	held       []*heldConnection
	before     specs // the suites' answers before the patch
	expect     []scenario.Expect
	specs      []report.Spec
	bootIDs    []string // of this clone, in order, beside result.Boots; "" for boots that its journal does not have
	ranGiven   string   // the file with the facts of the given state before it was turned off; "" without one
	vacation   bool     // there is no patch
	live       fact.Set // the machine with which a vacation is compared; empty for none
	witness    witness
	locked     []string                     // what was staged, with digests
	lockedOut  bool                         // that ssh does not answer has been told
	restarts   int                          // jobs that restarted something
	died       *boot.Seen                   // the boot that failed
	bootMoved  []string                     // increments that have touched kernels or the boot loader
	fallbacks  []*fallback                  // that were tried between increments, in order
	noWayBack  bool                         // that no checkpoint can be taken has been told
	labFault   error                        // that ends the run once the facts at hand are judged
	built      map[string]map[string]string // packages made of sources: increment -> entry -> file

	end    verdict.End
	result report.Result
}

// Run executes a scenario. Everything that happens to the candidate, the guest or the lab is in the result, whose
// outcome is final; an error means that nothing could be tested at all: [patch.NothingError] for a candidate that
// changes nothing, [patch.ScenarioError] for a scenario that is at fault itself, or an internal fault.
func Run(ctx context.Context, lab Lab, s scenario.Scenario, options RunOptions) (report.Result, error) {
	r, err := newRun(lab, s, options)
	if err != nil { // the host has no room or no right to write: the lab's fault, of which there is no evidence
		return report.Result{Outcome: verdict.Testbed, Reason: err.Error()}, err
	}
	err = r.test(ctx)
	return r.conclude(ctx, err)
}

// Vacation reboots a clone of a scenario's image in the scenario's ways, without any patch, and tells what does not come back. live, unless
// it is empty, are the facts of the machine itself: what it has that no boot brings to the image is told too.
func Vacation(ctx context.Context, lab Lab, s scenario.Scenario, live fact.Set, options RunOptions) (report.Result, error) {
	s.Increments = nil
	r, err := newRun(lab, s, options)
	if err != nil {
		return report.Result{Outcome: verdict.Testbed, Reason: err.Error(), Vacation: true}, err
	}
	r.vacation, r.live, r.result.Vacation = true, live, true
	err = r.test(ctx)
	return r.conclude(ctx, err)
}

func newRun(lab Lab, s scenario.Scenario, options RunOptions) (*run, error) {
	dir, err := rundir.Create(lab.RunsDir, lab.Now())
	if err != nil {
		return nil, err
	}
	r := &run{lab: lab, scenario: s, options: options, dir: dir, hider: secret.NewHider()}
	r.result = emptyResult(s, dir)
	var failures [4]error
	r.commands, failures[0] = openLog(dir.File(rundir.Commands))
	r.events, failures[1] = openLog(dir.File(rundir.Events))
	r.downloads, failures[2] = openLog(dir.File(rundir.Downloads))
	failures[3] = dir.Write(rundir.Scenario, s.Source)
	if err := errors.Join(failures[:]...); err != nil {
		return nil, errors.Join(err, r.closeLogs(), dir.Close())
	}
	r.sink = progress.Multi(options.Sink, progress.NewLog(r.events))
	return r, nil
}

func (r *run) closeLogs() error {
	return errors.Join(r.commands.Close(), r.events.Close(), r.downloads.Close())
}

// openLog opens a file of evidence that grows.
func openLog(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening a log of the run: %w", err)
	}
	return file, nil
}

// test is the order of the phases.
func (r *run) test(ctx context.Context) (err error) {
	release, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	releaseGiven, err := r.given(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, releaseGiven()) }()
	releaseTemplate, err := r.warmUp(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, releaseTemplate()) }()
	if err := r.baseline(ctx); err != nil {
		return err
	}
	known := judge.Case{
		Baseline: r.known.Baseline, Samples: []fact.Set{r.known.Second}, Control: r.known.Control, Controls: r.factsOfControls(),
		Allowances: r.scenario.Allow, Restart: r.scenario.Restart, Now: r.lab.Now(),
	}
	if r.vacation {
		known.Vacation, known.Control, known.Controls = true, fact.Set{}, nil // what they tell is what is asked
	}
	r.judge = judge.New(known)
	if err := r.tellByHand(); err != nil {
		return err
	}
	r.facts = r.known.Baseline
	order := cloneOrder{
		purpose: runPurpose,
		overlay: r.dir.File(rundir.Overlay), console: r.dir.File(rundir.Console), checkpoints: r.dir.File(rundir.Checkpoints),
		keep: func() bool { return r.dir.Has(rundir.Kept) },
	}
	return r.withClone(ctx, order, func(ctx context.Context, c *clone) error {
		if err := r.patch(ctx, c); err != nil || !r.options.Keep {
			return err
		}
		return r.keep(c)
	})
}

// open finds what a run stands on: the hypervisor, room, the packages of its sources, and the image, until that is released.
func (r *run) open(ctx context.Context) (release func() error, err error) {
	if r.host, err = r.lab.Host(ctx); err != nil {
		return nil, err
	}
	if err := roomFor(r.dir.Path); err != nil {
		return nil, err
	}
	if err := r.buildPackages(ctx); err != nil {
		return nil, err
	}
	r.bounds = bounds(r.lab.Timeouts, r.scenario.Timeouts, r.host.Accelerator.Slowness)
	r.result.Host = report.Host{
		Accelerator: string(r.host.Accelerator.Best), Slowness: r.host.Accelerator.Slowness,
	}
	if r.image, release, err = r.lab.Image(ctx, r.scenario.Image); err != nil {
		return nil, err
	}
	r.stands = []image.Image{r.image}
	r.result.Image = report.Image{Name: r.image.Name, Digest: r.image.Digest}
	if err := r.knowFiles(ctx); err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// patch is what happens to the clone.
func (r *run) patch(ctx context.Context, c *clone) error {
	defer r.letGo()
	defer r.tellFallbacks()
	if err := r.prepare(ctx, c); err != nil {
		return r.unbootable(err, c)
	}
	for i, increment := range r.scenario.Increments {
		if err := r.keepWayBack(ctx, c, increment); err != nil {
			return err
		}
		if err := r.apply(ctx, c, increment); err != nil {
			return err
		}
		if r.end.ApplyFailed {
			return r.audit(ctx, c, "") // there is no point in booting what is half installed, but would it boot?
		}
		if err := r.settle(ctx, c, increment); err != nil {
			return err
		}
		if r.labFault != nil {
			return r.labFault // now, for settling heals what applying may break
		}
		if c.outOfBand {
			// Nobody could apply the others: does a reboot help?
			for _, left := range r.scenario.Increments[i+1:] {
				r.skip("apply", left.Name, noSSH)
			}
			break
		}
		if i == len(r.scenario.Increments)-1 {
			break // the reboot comes first
		}
		if err := r.proveFallbackAfter(ctx, c, increment.Name); err != nil {
			return err
		}
	}
	if !r.vacation {
		if err := r.compare(ctx, c, "apply", ""); err != nil {
			return err
		}
	}
	r.tellEnded(c, "compare", "")
	r.letGo() // no connection outlives a reboot
	if len(r.scenario.Reboot) == 0 {
		return r.audit(ctx, c, "")
	}
	for _, mode := range r.scenario.Reboot {
		if err := r.audit(ctx, c, string(mode)); err != nil {
			return err
		}
		if err := r.reboot(ctx, c, mode); err != nil {
			return err
		}
		if r.end.BootFailed {
			r.rescue(ctx, c)
			return r.leaveOn(ctx, c)
		}
		if c.conn == nil || r.labFault != nil {
			// It settled, but there is no way in; told as a finding if it is the guest's doing.
			return errors.Join(r.labFault, r.leaveOn(ctx, c))
		}
		if err := r.compare(ctx, c, "reboot", string(mode)); err != nil || c.outOfBand {
			return err
		}
	}
	r.proveFallback(ctx, c)
	return r.compareLive()
}

// compareLive tells what the machine itself has that the last boot did not bring to the image.
func (r *run) compareLive() error {
	if r.live.Len() == 0 {
		return nil
	}
	for _, f := range judge.ByHand(r.live, r.facts, true) {
		f.Phase = "compare"
		f.Evidence = []verdict.Evidence{{File: factsFile("live")}}
		if !judge.IsSession(f) {
			f.Severity = verdict.Error
		}
		r.judge.Add(f)
	}
	return r.writeFacts(factsFile("live"), r.live)
}

// prepare brings the clone up and asks the suites for the state before the patch.
func (r *run) prepare(ctx context.Context, c *clone) error {
	return r.phase("prepare", "", func(p *phase) error {
		if err := r.firstBoot(ctx, c, p); err != nil {
			return err
		}
		if c.warm {
			r.booted("resume", c.times.settled, c, nil)
		} else {
			r.booted("start", p.steps["boot"], c, nil)
		}
		if err := r.suitesBefore(ctx, c, p); err != nil {
			return err
		}
		return r.hold(ctx, c, p)
	})
}
