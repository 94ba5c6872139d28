package main

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
)

// autoJobs stands for as many runs at once as the host takes.
const autoJobs = "auto"

// parseJobs reads --jobs. Under emulation a clone keeps a processor busy, and with KVM nearly so while it boots: more runs than
// processors only make each of them slower. The memory is watched by the runs themselves.
func parseJobs(text string) (int, error) {
	if text == autoJobs {
		return runtime.NumCPU(), nil
	}
	jobs, err := strconv.Atoi(text)
	if err != nil || jobs < 1 {
		return 0, fmt.Errorf("--jobs is %q, want a number from 1 on, or %s", text, autoJobs)
	}
	return jobs, nil
}

// ended is a run that has come to its end.
type ended struct {
	result report.Result
	err    error
	ran    bool // false for one that was stopped before it began
	took   time.Duration
}

// inTurn runs one scenario after the other and tells of each as it ends. It returns the exit codes.
func inTurn(ctx context.Context, env *environment, runner runner, loaded []scenario.Scenario, options runOptions) []int {
	var codes []int
	for _, s := range loaded {
		sink, endOfProgress := env.sink()
		result, err := runner(ctx, runRequest{Scenario: s, Keep: options.keep, Cold: options.cold, Sink: sink})
		endOfProgress()
		codes = append(codes, tell(ctx, env, s, ended{result: result, err: err, ran: true}, options, len(loaded) > 1))
		if ctx.Err() != nil {
			break
		}
	}
	return codes
}

// atOnce runs several scenarios at a time, which share one view. Results for a program go out as runs end; those for a person in
// the order in which the scenarios were named, when all have ended. One run that fails is no reason for others to stop.
func atOnce(
	ctx context.Context, env *environment, runner runner, loaded []scenario.Scenario, options runOptions, jobs int,
) []int {
	soon := env.Output == "json" && !isTerminal(env.Stdout) // a view that is drawn over it would garble it
	sink, endOfProgress := env.sink()
	codes := make([]int, len(loaded))
	outcomes, telling := start(ctx, loaded, jobs, func(s scenario.Scenario) (report.Result, error) {
		return runner(ctx, runRequest{Scenario: s, Keep: options.keep, Cold: options.cold, Sink: sink})
	})
	for i := range telling {
		if soon {
			codes[i] = tell(ctx, env, loaded[i], outcomes[i], options, true)
		}
	}
	endOfProgress()
	for i := range loaded {
		if !soon && outcomes[i].ran {
			codes[i] = tell(ctx, env, loaded[i], outcomes[i], options, true)
		}
	}
	return codes
}

// start runs scenarios, so many at a time. The channel tells which has ended, and is closed when all have; what came of it is in the
// list from then on. When ctx has ended, no more are begun.
func start(
	ctx context.Context, loaded []scenario.Scenario, jobs int, run func(scenario.Scenario) (report.Result, error),
) ([]ended, <-chan int) {
	outcomes := make([]ended, len(loaded))
	telling := make(chan int, len(loaded))
	var group errgroup.Group
	group.SetLimit(jobs)
	go func() {
		defer close(telling)
		for i, s := range loaded {
			group.Go(func() error {
				if ctx.Err() == nil {
					began := time.Now()
					result, err := run(s)
					outcomes[i] = ended{result, err, true, time.Since(began)}
					telling <- i
				}
				return nil
			})
		}
		_ = group.Wait() // nobody returns an error
	}()
	return outcomes, telling
}
