package main

import (
	"context"
	"time"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
)

// runner executes a scenario. An error means that nothing could be tested at all.
type runner func(ctx context.Context, request runRequest) (report.Result, error)

// runner returns what runs scenarios, and what ends it. The runs share one connection to the hypervisor.
func (e *environment) runner() (runner, func() error) {
	if e.Run != nil {
		return e.Run, func() error { return nil }
	}
	var watching progress.Sink = progress.Discard{}
	open, closing := e.sharedHost(func(note string) {
		watching.Emit(progress.Event{Kind: progress.Note, Step: "host", Text: note, At: time.Now()})
	})
	return func(ctx context.Context, request runRequest) (report.Result, error) {
		watching = request.Sink
		lab, err := e.lab(open, request.Scenario.Dir)
		if err != nil {
			return report.Result{}, err
		}
		return harness.Run(ctx, lab, request.Scenario, harness.RunOptions{Sink: request.Sink, Keep: request.Keep})
	}, closing
}
