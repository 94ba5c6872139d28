package harness

import (
	"context"
	"errors"
	"os"

	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
)

// Trial is what one clone of an image cost, without any test: seconds, those of the clone since it was asked for.
type Trial struct {
	Clones   report.Clones
	Template float64 // to make the template; 0 if it was there
	Running  float64 // until its domain ran
	Answer   float64 // until it answered over ssh, and the probe was there
	Settled  float64
	Captures []float64 // each complete set of facts, one after the other
	Facts    int       // in the last of them
}

// TryClone makes a clone of an image, captures its facts some times, lets idle look at its domain, and takes it away. Its run
// directory stays only when it fails.
func TryClone(
	ctx context.Context, lab Lab, image string, captures int, options RunOptions, idle func(ctx context.Context, domain string) error,
) (t Trial, err error) {
	r, err := newRun(lab, scenario.Scenario{Name: "clone of " + image, Image: image}, options)
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
	order := cloneOrder{purpose: "run", overlay: r.dir.File(rundir.Overlay), console: r.dir.File(rundir.Console)}
	err = r.withClone(ctx, order, func(ctx context.Context, c *clone) error {
		return r.phase("prepare", "", func(p *phase) error {
			if err := r.firstBoot(ctx, c, p); err != nil {
				return r.unbootable(err, c)
			}
			t.Running, t.Answer, t.Settled = c.times.running, c.times.answer, c.times.settled
			for range captures {
				before := p.steps["capture"]
				facts, err := r.capture(ctx, c, p, "baseline")
				if err != nil {
					return err
				}
				t.Captures, t.Facts = append(t.Captures, hundredths(p.steps["capture"]-before)), facts.Len()
			}
			if idle == nil {
				return nil
			}
			return idle(ctx, r.domainName(order))
		})
	})
	t.Clones = r.result.Clones
	return t, err
}
