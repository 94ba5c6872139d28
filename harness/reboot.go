package harness

import (
	"context"
	"errors"
	"fmt"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/hypervisor"
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
		r.mark = boot.Mark(c.console)
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

func (r *run) bootAgain(ctx context.Context, c *clone, p *phase) error {
	before := c.bootID
	if err := c.restart(ctx, r.bounds.Shutdown+r.known.bootBound()); err != nil {
		if err := r.goOutOfBand(ctx, c, p, before, err); err != nil {
			return err
		}
	}
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

// diagnose tells a boot that failed because of the patch from one that the lab spoiled. The patch is blamed only while
// the domain still runs, the guest's console is there as a witness, and the guest, unpatched, was seen to boot.
func (r *run) diagnose(ctx context.Context, c *clone, mode scenario.Reboot, took float64, cause error) error {
	var silent *noAnswerError
	if !errors.As(cause, &silent) && !errors.As(context.Cause(ctx), &silent) || ctx.Err() != nil {
		return cause
	}
	ask, cancel := context.WithTimeout(ctx, r.bounds.Driver)
	defer cancel()
	if state, err := c.domain.State(ask); err != nil || state != hypervisor.StateRunning {
		return errors.Join(cause, err)
	}
	if !boot.Witnessed(c.console, r.mark) {
		return fmt.Errorf("the guest's console was lost on this host, so nobody can tell why the guest is silent: %w", cause)
	}
	c.screenshot(ask, r.dir)
	seen := boot.Read(c.console, r.mark)
	f := verdict.Finding{
		ID: "PL707", Severity: verdict.Error, Phase: "reboot", Subject: fact.Key{Kind: "boot", Name: string(mode)},
		Title:    fmt.Sprintf("the guest does not come back: its boot stopped in stage %s", seen.Stage),
		Cause:    seen.Cause,
		Evidence: []verdict.Evidence{{File: rundir.Console, Lines: seen.Lines}, {File: rundir.Screenshot}},
	}
	if seen.Stage == boot.Ready {
		f.ID, f.Title = "PL205", "the guest came up, but does not answer over ssh"
	} else {
		r.end.BootFailed = true
	}
	r.judge.Add(withRemedy(f))
	r.result.Boots = append(r.result.Boots, report.Boot{
		Mode: string(mode), Stage: string(seen.Stage), Seconds: took, Cause: seen.Cause,
	})
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

// unbootable explains why an unpatched guest did not come up: whatever it is, it is not the patch.
func (r *run) unbootable(err error, c *clone) error {
	var silent *noAnswerError
	if err == nil || !errors.As(err, &silent) {
		return err
	}
	seen := boot.Read(c.console, 0)
	last := "nothing"
	if len(seen.Lines) > 0 {
		last = fmt.Sprintf("%q", seen.Lines[len(seen.Lines)-1])
	}
	return fmt.Errorf("the unpatched guest did not come up (%w): its boot stopped in stage %s, the console's last line "+
		"is %s; see its log in the run directory, or rebuild the image: patchlab image build %s --rebuild",
		err, seen.Stage, last, r.image.Name)
}
