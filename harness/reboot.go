package harness

import (
	"context"
	"fmt"
	"time"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// reboot boots the patched guest and judges what came back.
func (r *run) reboot(ctx context.Context, c *clone, mode scenario.Reboot) error {
	return r.bootPhase("reboot", mode, func(p *phase) error {
		var canary *report.Canary
		took, err := p.step("boot", func() (err error) {
			canary, err = r.bootAgain(ctx, c, p, mode)
			return err
		})
		if err != nil {
			return r.diagnose(ctx, c, p, mode, took, err)
		}
		if r.facts, err = r.capture(ctx, c, p, "reboot-"+string(mode)); err != nil {
			return err
		}
		r.booted(string(mode), took, c, canary)
		b := judge.Boundary{Phase: "reboot", Rebooted: true, Mode: string(mode), Facts: r.facts}
		return r.judgeAt(ctx, c, b, "reboot-"+string(mode))
	})
}

// leaving is how a guest came out of the boot before.
type leaving struct {
	before string  // the id of that boot
	canary *canary // of a power cut, else nil
	panic  *verdict.Finding
}

// leave ends the boot that the clone is in, in every way but by asking it: then the request, and whether it was heard, are one thing with
// the waiting for the next boot. c.mark is where the console of the next boot begins.
func (r *run) leave(ctx context.Context, c *clone, p *phase, mode scenario.Reboot) (leaving, error) {
	l := leaving{before: c.bootID}
	var err error
	switch mode {
	case scenario.RebootPowerCut:
		if l.canary, err = r.lay(ctx, c); err == nil {
			err = c.cutPower(ctx)
		}
	case scenario.RebootPanic:
		l.panic, err = r.crash(ctx, c, p)
	default:
		c.mark = boot.Mark(c.console)
	}
	return l, err
}

// nextBoot waits until the guest lets us in that has left the boot before.
func (c *clone) nextBoot(ctx context.Context, mode scenario.Reboot, before string, bound time.Duration) error {
	if mode == scenario.RebootClean {
		return c.restart(ctx, bound)
	}
	return c.awaitBoot(ctx, bound, before, nil)
}

// bootAgain boots the guest until it has settled, or its console shows that it does not come.
func (r *run) bootAgain(ctx context.Context, c *clone, p *phase, mode scenario.Reboot) (*report.Canary, error) {
	left, err := r.leave(ctx, c, p, mode)
	if err != nil {
		return nil, err
	}
	if f := left.panic; f != nil {
		if r.controlOf(mode).StaysDown {
			f.Severity, f.OldRot = verdict.Warning, true
		}
		r.judge.Add(*f)
	}
	followed, f := c.follow(ctx, boot.Watch{
		Control: r.controlOf(mode).Stages, PowerOn: mode != scenario.RebootClean, Screen: c.screen(ctx),
	})
	defer f.stop()
	if err := r.comeBack(followed, c, p, f, mode, left.before); err != nil {
		return nil, whyOver(followed, err)
	}
	if err := f.look(); err != nil { // it may have begun once more since it was last looked at
		return nil, err
	}
	if left.canary == nil {
		return nil, nil
	}
	var found *report.Canary
	err = r.overCut(ctx, c, p, func() (err error) {
		found, err = r.readCanary(ctx, c, p, left.canary)
		return err
	})
	return found, err
}

func (r *run) comeBack(ctx context.Context, c *clone, p *phase, f *follower, mode scenario.Reboot, before string) error {
	if err := c.nextBoot(ctx, mode, before, r.bounds.Shutdown+r.controlOf(mode).bootBound()); err != nil {
		if err := r.goOutOfBand(ctx, c, p, before, err); err != nil {
			return err
		}
	}
	f.answered()
	var settled probe.Settled
	if err := r.overCut(ctx, c, p, func() (err error) {
		settled, err = c.settle(ctx)
		return err
	}); err != nil {
		return err
	}
	for _, job := range settled.Jobs {
		p.note("%s hangs: its %s job does not end", job.Unit, job.Type)
		f := jobHangs(job)
		f.Phase, f.Mode = "reboot", string(mode)
		r.judge.Add(f)
	}
	return nil
}

// jobHangs is what a job tells that does not end at boot.
func jobHangs(job protocol.Job) verdict.Finding {
	return withRemedy(verdict.Finding{
		ID: "PL105", Severity: verdict.Error, Subject: fact.Key{Kind: fact.KindUnit, Name: job.Unit},
		Title:    fmt.Sprintf("%s hangs at boot: its %s job does not end", job.Unit, job.Type),
		Evidence: []verdict.Evidence{{File: rundir.Console}},
	})
}

// booted records a boot that settled, with the kernel that the facts taken in it name.
func (r *run) booted(mode string, took float64, c *clone, canary *report.Canary) {
	entry := ""
	if f, ok := r.facts.Get(fact.KindKernel, "running"); ok {
		entry = f.Attribute("release")
	}
	r.addBoot(report.Boot{Mode: mode, Entry: entry, Stage: string(boot.Ready), Seconds: took, Canary: canary}, c.bootID)
}

// addBoot records a boot, with its id; "" for one that did not settle, or of which the guest knows nothing any more.
func (r *run) addBoot(b report.Boot, id string) {
	r.bootIDs, r.result.Boots = append(r.bootIDs, id), append(r.result.Boots, b)
}
