package harness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/restart"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// settle restarts what the increment needs restarted, and looks again.
func (r *run) settle(ctx context.Context, c *clone, increment scenario.Increment) error {
	plan := restart.Advise(r.facts)
	if r.scenario.Restart == scenario.RestartAll {
		plan = restart.All(r.facts)
	}
	execute := r.scenario.Restart != scenario.RestartNone
	r.advise(plan, execute)
	if len(plan.Connections) > 0 {
		r.emit(progress.Note, "settle "+increment.Name, connectionsNote(plan.Connections), 0)
	}
	boundary := judge.Boundary{
		Phase: "settle", Increment: increment.Name, Facts: r.facts,
		RestartsPending: len(r.scenario.Reboot) > 0 && execute,
	}
	if !execute || len(plan.Units) == 0 {
		return r.judgeAt(ctx, c, boundary, "apply-"+increment.Name)
	}
	return r.phase("settle", increment.Name, func(p *phase) error {
		if err := r.restart(ctx, c, p, plan, increment); err != nil {
			return err
		}
		var err error
		if r.facts, err = r.capture(ctx, c, p, "settle-"+increment.Name); err != nil {
			return err
		}
		boundary.Facts = r.facts
		boundary.RestartsPending = false
		return r.judgeAt(ctx, c, boundary, "settle-"+increment.Name)
	})
}

// connectionsNote says what is not restarted, and why.
func connectionsNote(left []restart.Unit) string {
	var names []string
	for _, u := range left {
		names = append(names, u.Name)
	}
	return "left alone, because each serves a client's open connection: " + strings.Join(names, " ")
}

func (r *run) restart(ctx context.Context, c *clone, p *phase, plan restart.Plan, increment scenario.Increment) error {
	var names []string
	for _, u := range plan.Units {
		names = append(names, u.Name)
	}
	p.note("restarting %s", strings.Join(names, " "))
	_, err := p.step("restart", func() error {
		output, err := r.restartCommand(ctx, c, p, plan.Command())
		file := filepath.Join(rundir.Apply, increment.Name+".restart.log")
		err = errors.Join(err, r.dir.Write(file, output))
		if err != nil {
			return fmt.Errorf("restarting %s: %w", strings.Join(names, ", "), err)
		}
		r.judge.Restarted(names...)
		p.restarted = names
		for _, unit := range restart.Failed(string(output)) {
			r.judge.Add(withRemedy(verdict.Finding{
				ID: "PL603", Severity: verdict.Error, Phase: "settle", Increment: increment.Name,
				Subject: fact.Key{Kind: fact.KindUnit, Name: unit}, Title: "restarting " + unit + " failed",
				Evidence: []verdict.Evidence{{File: file, Lines: tail(output, 5)}},
			}))
		}
		err = r.overCut(ctx, c, p, func() error {
			_, err := c.settle(ctx)
			return err
		})
		r.tellEnded(c, "settle", increment.Name, names...)
		return err
	})
	return err
}

// restartCommand runs the restarts as a job: that of a network or ssh service may cut the connection, and what was not restarted
// because of a cut would be blamed on the patch.
func (r *run) restartCommand(ctx context.Context, c *clone, p *phase, line string) (output []byte, err error) {
	r.restarts++
	name := fmt.Sprintf("Restart-%d", r.restarts) // no increment has capitals
	_, output, err = r.runJob(ctx, c, p, guestJob{name: name, script: "#!/bin/sh\n" + line + "\n", bound: r.bounds.Command})
	return output, err
}

// advise records what has to be restarted, also when the scenario forbids it.
func (r *run) advise(plan restart.Plan, execute bool) {
	for _, u := range plan.Units {
		known := slices.ContainsFunc(r.result.Advice.Restart, func(a report.Restart) bool { return a.Unit == u.Name })
		if !known {
			r.result.Advice.Restart = append(r.result.Advice.Restart,
				report.Restart{Unit: u.Name, Reason: u.Reason, Done: execute})
		}
	}
	for _, reason := range plan.Reboot {
		r.result.Advice.Reboot.Needed = true
		if !slices.Contains(r.result.Advice.Reboot.Reasons, reason) {
			r.result.Advice.Reboot.Reasons = append(r.result.Advice.Reboot.Reasons, reason)
		}
	}
}
