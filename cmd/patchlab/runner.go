package main

import (
	"context"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/report"
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
		if err != nil {
			return report.Result{}, err
		}
		return harness.Run(ctx, lab, request.Scenario, harness.RunOptions{Sink: request.Sink, Keep: request.Keep})
	}, closing
}
