package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// diagnose tells a boot that failed because of the patch from one that the lab spoiled. The patch is blamed only while
// the domain still runs, the guest's console is there as a witness, and the guest, unpatched, was seen to boot.
func (r *run) diagnose(ctx context.Context, c *clone, p *phase, mode scenario.Reboot, took float64, cause error) error {
	seen, evidence, err := r.seenDead(ctx, c, cause)
	if err != nil {
		return err
	}
	f := bootFinding(seen, string(mode))
	f.Increment, f.Evidence = r.onlyIncrement(), evidence
	r.end.BootFailed = f.ID != "PL205"
	r.died = &seen
	r.readDead(ctx, c, p, &f)
	r.judge.Add(f)
	r.addBoot(report.Boot{Mode: string(mode), Stage: string(seen.Stage), Seconds: took, Cause: seen.Cause}, "")
	return nil
}

// seenDead returns what is known of a boot that did not come to its end, if that is the guest's doing: else an error.
func (r *run) seenDead(ctx context.Context, c *clone, cause error) (seen boot.Seen, evidence []verdict.Evidence, err error) {
	over, isOver := errors.AsType[*bootOverError](cause)
	_, isSilent := errors.AsType[*noAnswerError](cause)
	if !isOver && !isSilent || ctx.Err() != nil {
		return seen, nil, cause
	}
	ask, cancel := context.WithTimeout(ctx, r.bounds.Driver)
	defer cancel()
	if state, err := c.domain.State(ask); err != nil || state != hypervisor.StateRunning {
		return seen, nil, errors.Join(cause, err)
	}
	if !boot.Witnessed(c.console, c.mark) {
		return seen, nil, fmt.Errorf("the guest's console was lost on this host, so nobody can tell why the guest is silent: %w", cause)
	}
	c.screenshot(ask, r.dir)
	if isOver {
		seen = over.seen
	} else if seen = boot.Read(c.console, c.mark); seen.State == boot.UnderWay && seen.Stage != boot.Ready {
		seen.State = boot.Hung // it had the whole patience
	}
	evidence, seen = r.readScreen(ask, c, seen)
	return seen, evidence, nil
}

// readScreen asks the guest's screen where the console says no more than that it stands still, and returns the evidence.
func (r *run) readScreen(ctx context.Context, c *clone, seen boot.Seen) ([]verdict.Evidence, boot.Seen) {
	console := verdict.Evidence{File: rundir.Console, Lines: seen.Lines}
	picture := verdict.Evidence{File: rundir.Screenshot}
	reader, ok := c.domain.(hypervisor.ScreenReader)
	if seen.State != boot.Hung && !seen.Shown || !ok {
		return []verdict.Evidence{console, picture}, seen
	}
	text, err := reader.ScreenText(ctx)
	if seen.Shown { // it ended the waiting
		if err == nil && r.dir.Write(rundir.ScreenText, text) == nil {
			return []verdict.Evidence{{File: rundir.ScreenText, Lines: seen.Lines}, {File: rundir.Console}, picture}, seen
		}
		return []verdict.Evidence{{File: rundir.Console}, picture}, seen
	}
	shown := boot.OnScreen(seen, text)
	if err != nil || shown.Cause == seen.Cause && shown.Stage == seen.Stage || r.dir.Write(rundir.ScreenText, text) != nil {
		return []verdict.Evidence{console, picture}, seen // best effort: the console's word stands
	}
	return []verdict.Evidence{{File: rundir.ScreenText, Lines: shown.Lines}, console, picture}, shown
}

// bootFinding says of a boot that did not come to its end what its console showed.
func bootFinding(seen boot.Seen, mode string) verdict.Finding {
	f := verdict.Finding{Severity: verdict.Error, Phase: "reboot", Mode: mode, Subject: fact.Key{Kind: "boot", Name: mode}, Cause: seen.Cause}
	switch {
	case seen.State == boot.Looped:
		f.ID, f.Title = "PL708", fmt.Sprintf("the guest starts again and again: it comes to stage %s, and then starts anew", seen.Stage)
	case seen.State == boot.Ended:
		f.ID, f.Title = "PL706", fmt.Sprintf("the guest does not come back: its boot ended in stage %s", seen.Stage)
	case seen.State == boot.Hung && seen.Job.Unit != "":
		f.ID, f.Subject = "PL105", fact.Key{Kind: fact.KindUnit, Name: seen.Job.Unit}
		f.Title = fmt.Sprintf("%s hangs at boot: its start job does not end, and nobody can log in before it does", seen.Job.Unit)
	case seen.State == boot.Hung:
		f.ID, f.Title = "PL707", fmt.Sprintf("the guest does not come back: its boot stands still in stage %s", seen.Stage)
	default:
		f.ID, f.Title = "PL205", "the guest came up, but does not answer over ssh"
	}
	f = withRemedy(f)
	f.Remedy = cmp.Or(seen.Remedy, f.Remedy)
	return f
}

// unbootable explains why an unpatched guest did not come up: whatever it is, it is not the patch.
func (r *run) unbootable(err error, c *clone) error {
	_, isOver := errors.AsType[*bootOverError](err)
	_, isSilent := errors.AsType[*noAnswerError](err)
	if err == nil || !isOver && !isSilent {
		return err
	}
	seen := boot.Read(c.console, c.mark)
	last := "nothing"
	if len(seen.Lines) > 0 {
		last = fmt.Sprintf("%q", seen.Lines[len(seen.Lines)-1])
	}
	return fmt.Errorf("the unpatched guest did not come up (%w): its boot stopped in stage %s, the console's last line "+
		"is %s; see its log in the run directory, or rebuild the image: patchlab image build %s --rebuild",
		err, seen.Stage, last, r.image.Name)
}
