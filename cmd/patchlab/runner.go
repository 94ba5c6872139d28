package main

import (
	"context"
	"slices"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/harness/verdict"
)

// runner executes a scenario. An error means that nothing could be tested at all.
type runner func(ctx context.Context, request runRequest) (report.Result, error)

// runner returns what runs scenarios, and what ends it. The runs share one connection to the hypervisor.
func (e *environment) runner() (runner, func() error) {
	if e.Run != nil {
		return e.Run, func() error { return nil }
	}
	open, closing := e.sharedHost(e.notice)
	return func(ctx context.Context, request runRequest) (report.Result, error) {
		lab, err := e.lab(open, request.Scenario.Dir)
		if err != nil { // a directory that cannot be made
			return report.Result{Outcome: verdict.Testbed}, err
		}
		options := harness.RunOptions{Sink: request.Sink, Keep: request.Keep, Cold: request.Cold}
		var result report.Result
		if request.Vacation {
			result, err = harness.Vacation(ctx, lab, request.Scenario, request.Live, options)
		} else {
			result, err = harness.Run(ctx, lab, request.Scenario, options)
		}
		if slices.ContainsFunc(result.Phases, leftBehind) {
			e.clearUp(context.WithoutCancel(ctx))
		}
		return result, err
	}, closing
}

// leftBehind is a clone that could not be taken away, because its libvirt was gone.
func leftBehind(p report.Phase) bool { return p.Name == "teardown" && p.Status == "failed" }

// clearUp does over a connection of its own what a run could not do over its own.
func (e *environment) clearUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, timing.Default().Cleanup)
	defer cancel()
	host, err := e.openHost(ctx, e.notice)
	if err != nil {
		e.notice("a clone was left behind; `patchlab gc` removes it: " + err.Error())
		return
	}
	e.sweep(ctx, host.Driver, e.notice)
	if err := host.Driver.Close(); err != nil {
		e.notice("closing the hypervisor: " + err.Error())
	}
}
