package harness

import (
	"context"
	"errors"
	"os"

	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
)

// Trial is what one clone of an image cost, without any test: seconds, those of the clone since it was asked for.
type Trial struct {
	Clones   report.Clones
	Template float64 // to make the template; 0 if it was there
	Running  float64 // until its domain ran
	Complete float64 // until the probe that waits in it had told a complete set of facts, with which ssh waits; 0 without one
	Answer   float64 // until it answered over ssh, and the probe was there
	Settled  float64
	Captures []float64 // each complete set of facts, one after the other
	Facts    int       // in the last of them
	Rounds   []Round
}

// TrialOptions say what is tried.
type TrialOptions struct {
	Sink     progress.Sink
	Cold     bool // boot the clone
	Captures int  // how many sets of facts are taken one after the other
	// FactsFirst has the probe that waits in a clone tell a set of facts before anybody logs in.
	FactsFirst bool
	// Rounds is how many checkpoints are taken and gone back to, one after the other.
	Rounds int
	// Idle, if set, looks at the clone's domain in the end.
	Idle func(ctx context.Context, domain string) error
}

// TryClone makes a clone of an image and takes it away again. Its run directory stays only when it fails.
func TryClone(ctx context.Context, lab Lab, name string, options TrialOptions) (t Trial, err error) {
	r, err := newRun(lab, scenario.Scenario{Name: "clone of " + name, Image: name}, RunOptions{Sink: options.Sink, Cold: options.Cold})
	if err != nil {
		return Trial{}, err
	}
	defer func() {
		closing := errors.Join(r.closeLogs(), r.hideSecrets(), r.dir.Close())
		if err = errors.Join(err, closing); err == nil {
			err = os.RemoveAll(r.dir.Path)
		}
	}()
	release, err := r.open(ctx)
	if err != nil {
		return Trial{}, err
	}
	defer func() { err = errors.Join(err, release()) }()
	releaseTemplate, err := r.warmUp(ctx)
	if err != nil {
		return Trial{}, err
	}
	defer func() { err = errors.Join(err, releaseTemplate()) }()
	for _, p := range r.result.Phases {
		if p.Name == "template" {
			t.Template = p.Seconds
		}
	}
	order := cloneOrder{
		purpose: runPurpose, overlay: r.dir.File(rundir.Overlay), console: r.dir.File(rundir.Console),
		checkpoints: r.dir.File(rundir.Checkpoints),
	}
	if options.FactsFirst {
		order.awake = func(ctx context.Context, c *clone) error {
			_, err := probe.Facts(ctx, c.waiting, nil, c.files)
			t.Complete = c.times.since(r.lab.Now())
			return err
		}
	}
	err = r.withClone(ctx, order, func(ctx context.Context, c *clone) error {
		return r.phase("prepare", "", func(p *phase) error {
			if err := r.firstBoot(ctx, c, p); err != nil {
				return r.unbootable(err, c)
			}
			t.Running, t.Answer, t.Settled = c.times.running, c.times.answer, c.times.settled
			for range options.Captures {
				before := p.steps["capture"]
				facts, err := r.capture(ctx, c, p, "baseline")
				if err != nil {
					return err
				}
				t.Captures, t.Facts = append(t.Captures, hundredths(p.steps["capture"]-before)), facts.Len()
			}
			if t.Rounds, err = r.rounds(ctx, c, options.Rounds); err != nil || options.Idle == nil {
				return err
			}
			return options.Idle(ctx, domainName(r.dir.ID, order.purpose))
		})
	})
	t.Clones = r.result.Clones
	return t, err
}

// MakeGiven returns the image of a scenario with the given state in it, which is made if it is not there, until release is called.
// Nothing is tested. A given state that cannot be made is a [patch.ScenarioError].
func MakeGiven(ctx context.Context, lab Lab, s scenario.Scenario, sink progress.Sink) (made image.Image, release func() error, err error) {
	r, err := newRun(lab, s, RunOptions{Sink: sink})
	if err != nil {
		return image.Image{}, nil, err
	}
	defer func() {
		closing := errors.Join(r.closeLogs(), r.hideSecrets(), r.dir.Close())
		if err = errors.Join(err, closing); err == nil {
			err = os.RemoveAll(r.dir.Path) // it says why, if it could not be made
		}
	}()
	releaseImage, err := r.open(ctx)
	if err != nil {
		return image.Image{}, nil, err
	}
	releaseGiven, err := r.given(ctx)
	if err != nil {
		return image.Image{}, nil, errors.Join(err, releaseImage())
	}
	return r.image, func() error { return errors.Join(releaseGiven(), releaseImage()) }, nil
}
