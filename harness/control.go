package harness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
)

// control is what one way to reboot does to the guest without any patch.
type control struct {
	Schema int      `json:"schema"`
	Facts  fact.Set `json:"facts"`
	// BootSeconds is how long the reboot took, from the request until it settled.
	BootSeconds float64 `json:"boot_seconds"`
	// Stages are the seconds that the boot spent in each stage that its console shows.
	Stages boot.Times `json:"stages"`
	// StaysDown says that the guest does not come out of a panic by itself.
	StaysDown bool           `json:"stays_down,omitempty"`
	Canary    *report.Canary `json:"canary,omitempty"`
}

// controlSchema changes when what is cached changes its meaning.
const controlSchema = 1

// bootPatience is how many times longer than the control boot a boot may take before it counts as hung, and
// leastBootPatience the least that is granted, for a busy host.
const (
	bootPatience      = 4
	leastBootPatience = 2 * time.Minute
)

// bootBound is the patience with a boot of the patched guest.
func (c control) bootBound() time.Duration {
	return max(leastBootPatience, time.Duration(bootPatience*c.BootSeconds*float64(time.Second)))
}

// controlOf returns what is known of a way to reboot.
func (r *run) controlOf(mode scenario.Reboot) control {
	if c, isOther := r.controls[mode]; isOther {
		return c
	}
	return control{Facts: r.known.Control, BootSeconds: r.known.BootSeconds, Stages: r.known.Stages}
}

// knowControls returns what each way to reboot does to the unpatched guest, for those that the scenario wants beside the clean one, which
// is known with the baseline. The file of the baseline names theirs.
func (r *run) knowControls(ctx context.Context, baseline string) error {
	r.controls = map[scenario.Reboot]control{}
	for _, mode := range r.scenario.Reboot {
		if mode == scenario.RebootClean {
			continue
		}
		if err := r.knowControl(ctx, baseline+"-"+string(mode), mode); err != nil {
			return err
		}
		if err := r.writeFacts(factsFile("control-"+string(mode)), r.controls[mode].Facts); err != nil {
			return err
		}
	}
	return nil
}

// knowControl is [run.know] for a way to reboot.
func (r *run) knowControl(ctx context.Context, file string, mode scenario.Reboot) (err error) {
	if r.recallControl(file, mode) {
		return nil
	}
	unlock, err := lockKnown(ctx, file, func() {
		r.emit(progress.Note, "control "+string(mode), "another run is learning it", 0)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if r.recallControl(file, mode) {
		return nil
	}
	learned, err := r.learnControlOf(ctx, mode)
	if err != nil {
		return err
	}
	r.controls[mode] = learned
	if err := writeDigested(file, learned); err != nil {
		return fmt.Errorf("keeping what a %s does to the unpatched guest: %w", mode, err)
	}
	return nil
}

func (r *run) recallControl(file string, mode scenario.Reboot) bool {
	var c control
	if !readDigested(file, &c) || c.Schema != controlSchema || c.Facts.Len() == 0 {
		return false // a damaged one is learned again, as a baseline is
	}
	used(file, r.lab.Now())
	r.controls[mode] = c
	r.result.Phases = append(r.result.Phases, report.Phase{Name: "control", Mode: string(mode), Status: "cached"})
	r.emit(progress.Skipped, "control "+string(mode), "cached", 0)
	return true
}

// learnControlOf reboots a clone of its own.
func (r *run) learnControlOf(ctx context.Context, mode scenario.Reboot) (learned control, err error) {
	purpose := "control-" + string(mode)
	order := cloneOrder{purpose: purpose, overlay: r.dir.File(purpose + rundir.DiskExt), console: r.dir.File(purpose + "-" + rundir.Console)}
	err = r.withClone(ctx, order, func(ctx context.Context, c *clone) error {
		return r.bootPhase("control", mode, func(p *phase) error {
			if err := r.firstBoot(ctx, c, p); err != nil {
				return r.unbootable(err, c)
			}
			learned, err = r.rebootUnpatched(ctx, c, p, mode)
			if err != nil {
				return err
			}
			learned.Facts, err = r.capture(ctx, c, p, purpose)
			return err
		})
	})
	return learned, err
}

// rebootUnpatched has the guest reboot before there is any patch in it, and learns all but its facts.
func (r *run) rebootUnpatched(ctx context.Context, c *clone, p *phase, mode scenario.Reboot) (learned control, err error) {
	learned.Schema = controlSchema
	var left leaving
	learned.BootSeconds, err = p.step("boot", func() error {
		left, err = r.leave(ctx, c, p, mode)
		if err != nil {
			return err
		}
		learned.StaysDown = left.panic != nil
		followed, f := c.follow(ctx, boot.Watch{PowerOn: mode != scenario.RebootClean})
		err := c.nextBoot(followed, mode, left.before, r.bounds.Shutdown+r.bounds.Boot)
		if err == nil {
			f.answered()
			_, err = c.settle(followed)
		}
		learned.Stages = f.stop()
		return r.unbootable(whyOver(followed, err), c)
	})
	if err == nil && left.canary != nil {
		learned.Canary, err = r.readCanary(ctx, c, p, left.canary)
	}
	return learned, err
}

// factsOfControls are the facts after each way to reboot but the clean one.
func (r *run) factsOfControls() map[string]fact.Set {
	facts := map[string]fact.Set{}
	for mode, c := range r.controls {
		facts[string(mode)] = c.Facts
	}
	return facts
}
