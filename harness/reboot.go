package harness

import (
	"context"
	"fmt"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// reboot boots the patched guest and judges what came back.
func (r *run) reboot(ctx context.Context, c *clone, mode scenario.Reboot) error {
	return r.phase("reboot", "", func(p *phase) error {
		took, err := p.step("boot", func() error { return r.bootAgain(ctx, c, p) })
		if err != nil {
			return r.diagnose(ctx, c, mode, took, err)
		}
		if r.facts, err = r.capture(ctx, c, p, "reboot-"+string(mode)); err != nil {
			return err
		}
		r.booted(string(mode), took, c)
		return r.judgeAt(ctx, c, judge.Boundary{Phase: "reboot", Rebooted: true, Facts: r.facts}, "reboot-"+string(mode))
	})
}

// bootAgain boots the guest until it has settled, or its console shows that it does not come.
func (r *run) bootAgain(ctx context.Context, c *clone, p *phase) error {
	c.mark = boot.Mark(c.console)
	followed, f := c.follow(ctx, boot.Watch{Control: r.known.Stages})
	defer f.stop()
	if err := r.comeBack(followed, c, p, f); err != nil {
		return whyOver(followed, err)
	}
	return f.look() // it may have begun once more since it was last looked at
}

func (r *run) comeBack(ctx context.Context, c *clone, p *phase, f *follower) error {
	before := c.bootID
	if err := c.restart(ctx, r.bounds.Shutdown+r.known.bootBound()); err != nil {
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
		r.judge.Add(withRemedy(verdict.Finding{
			ID: "PL105", Severity: verdict.Error, Phase: "reboot",
			Subject:  fact.Key{Kind: fact.KindUnit, Name: job.Unit},
			Title:    fmt.Sprintf("%s hangs at boot: its %s job does not end", job.Unit, job.Type),
			Evidence: []verdict.Evidence{{File: rundir.Console}},
		}))
	}
	return nil
}

// booted records a boot that settled, with the kernel that the facts taken in it name.
func (r *run) booted(mode string, took float64, c *clone) {
	entry := ""
	if f, ok := r.facts.Get(fact.KindKernel, "running"); ok {
		entry = f.Attribute("release")
	}
	r.bootIDs = append(r.bootIDs, c.bootID)
	r.result.Boots = append(r.result.Boots, report.Boot{Mode: mode, Entry: entry, Stage: "ready", Seconds: took})
}
