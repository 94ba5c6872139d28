package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/scenarios"
)

const parallelLong = `Run scenarios one after the other and then at once, in turn, and say how many times faster they were done at once. A scenario may
be named several times. All runs have to end in the same way alone and beside others.

A round in which a template or a baseline had to be made is not counted, and made again.`

const parallelExample = `  patchlab bench parallel
  patchlab bench parallel zoo/port-moves zoo/stale-library --jobs 2 --runs 5 --output json`

// parallelOptions are the flags of `patchlab bench parallel`.
type parallelOptions struct {
	scenarios []string
	jobs      string
	runs      int
}

// parallelDefaults are the options of so many rounds: two runs, which keep two processors busy.
func parallelDefaults(runs int) parallelOptions {
	return parallelOptions{scenarios: []string{"openssl-nginx", "openssl-nginx"}, jobs: "2", runs: runs}
}

func newParallelCommand(env *environment) *cobra.Command {
	options := parallelDefaults(1)
	cmd := &cobra.Command{
		Use:     "parallel [SCENARIO...]",
		Short:   "Compare runs at once with the same runs one after the other",
		Long:    parallelLong,
		Example: parallelExample,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return scenarios.Names(), cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				options.scenarios = args
			}
			result, err := env.benchParallel(cmd.Context(), options)
			if err != nil {
				return err
			}
			return env.render(result, text(parallelTable(result)))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.jobs, "jobs", options.jobs, "how many to run at once: `N`, or auto for as many as this host has processors and memory for")
	flags.IntVar(&options.runs, "runs", options.runs, "how many rounds (`N`)")
	complete(cmd, "jobs", autoJobs)
	return cmd
}

func (e *environment) benchParallel(ctx context.Context, options parallelOptions) (result bench.Parallel, err error) {
	jobs, err := parseJobs(options.jobs)
	if err != nil {
		return result, usage(err)
	}
	if options.runs < 1 || len(options.scenarios) < 2 || jobs < 2 {
		return result, usage(errors.New("there is nothing to compare: it takes two scenarios, two --jobs and one of --runs at least"))
	}
	loaded, remove, err := loadAll(e, runOptions{scenarios: options.scenarios})
	defer remove()
	if err != nil {
		return result, usage(err)
	}
	endSuites, err := readySuites(ctx, e, loaded)
	defer endSuites()
	if err != nil {
		return result, usage(err)
	}
	runner, done := e.runner()
	sink, endOfProgress := e.sink()
	b := parallelBench{runner: runner, scenarios: loaded, jobs: jobs, sink: sink}
	rounds, err := b.measure(ctx, options.runs)
	endOfProgress()
	if err = errors.Join(err, done()); err != nil {
		return result, labFault(ctx, err)
	}
	result = bench.CompareWays(rounds)
	result.Scenarios, result.Jobs, result.CPUs = options.scenarios, jobs, runtime.NumCPU()
	result.TranslationCacheMiB = translationCache(hypervisor.Accelerator(result.Host.Accelerator))
	return result, nil
}

// parallelBench is one bench under way.
type parallelBench struct {
	runner    runner
	scenarios []scenario.Scenario
	jobs      int
	sink      progress.Sink
}

func (b parallelBench) measure(ctx context.Context, runs int) (rounds []bench.ParallelRound, err error) {
	prepared := false
	for len(rounds) < runs {
		var round bench.ParallelRound
		if round.InTurn, round.Busy[0], err = b.side(ctx, 1); err != nil {
			return nil, err
		}
		if !prepared {
			prepared = true
			if slices.ContainsFunc(round.InTurn.Results, bench.Learned) {
				b.sink.Emit(progress.Event{Kind: progress.Note, Step: "bench", Text: "again: what runs share had to be made first", At: time.Now()})
				continue
			}
		}
		if round.AtOnce, round.Busy[1], err = b.side(ctx, b.jobs); err != nil {
			return nil, err
		}
		if err := bench.Comparable(round); err != nil {
			return nil, err
		}
		rounds = append(rounds, round)
	}
	return rounds, nil
}

// side runs everything once, so many at a time.
func (b parallelBench) side(ctx context.Context, jobs int) (round bench.Round, busy float64, err error) {
	if busy, err = bench.Busy(ctx); err != nil {
		return round, busy, err
	}
	meter, err := bench.NewMeter()
	if err != nil {
		return round, busy, err
	}
	ends, telling := start(ctx, b.scenarios, jobs, func(s scenario.Scenario) (report.Result, error) {
		return b.runner(ctx, runRequest{Scenario: s, Sink: b.sink})
	})
	for range telling {
	}
	if round.Use, err = meter.Read(); err != nil {
		return round, busy, err
	}
	for _, end := range ends {
		if ctx.Err() != nil {
			return round, busy, context.Cause(ctx)
		}
		if end.err != nil {
			return round, busy, end.err
		}
		round.Results = append(round.Results, end.result)
		round.Runs = append(round.Runs, end.took.Seconds())
	}
	return round, busy, nil
}

// parallelTable renders the result for a person.
func parallelTable(p bench.Parallel) string {
	inTurn, atOnce := p.Parallel.InTurn, p.Parallel.AtOnce
	var table figureTable
	table.row("", "one after the other", "at once")
	table.row("all runs, seconds", shownSeconds(inTurn.Seconds), shownSeconds(atOnce.Seconds))
	table.row("a single run, seconds", shownSeconds(inTurn.Run), shownSeconds(atOnce.Run))
	table.row("CPUs that were busy", shown(inTurn.Busy), shown(atOnce.Busy))
	table.row("CPU seconds of patchlab itself", shownSeconds(inTurn.Own), shownSeconds(atOnce.Own))
	table.row("steps of a run, seconds:")
	for _, row := range stepsOf(inTurn.Step, atOnce.Step) {
		table.row(row...)
	}
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s: %d at once on %d CPUs, median (least to most) of %d rounds\n\n%s\n", strings.Join(p.Scenarios, ", "), p.Jobs,
		p.CPUs, p.Rounds, &table)
	_, _ = fmt.Fprintf(&b, "throughput: %s times that of one after the other\n", shownRatio(p.Throughput))
	_, _ = fmt.Fprintf(&b, "%s; %s\n", accelerated(p.Host.Accelerator, p.TranslationCacheMiB), quietness(p.BusyCPUs))
	return b.String()
}

// stepsOf puts the steps of both ways side by side, those that take half a second at least.
func stepsOf(inTurn, atOnce []bench.Phase) (rows [][]string) {
	const least = 0.5
	other := map[string]*bench.Seconds{}
	for _, p := range atOnce {
		for name, took := range p.Steps {
			other[p.Name+" "+p.Increment+" "+name] = took
		}
	}
	for _, p := range inTurn {
		for _, name := range slices.Sorted(maps.Keys(p.Steps)) {
			if took := p.Steps[name]; took.Median >= least {
				title := "  " + strings.TrimSpace(p.Name+" "+p.Increment) + ": " + name
				rows = append(rows, []string{title, shownSeconds(took), shownSeconds(other[p.Name+" "+p.Increment+" "+name])})
			}
		}
	}
	return rows
}

func shownRatio(f *bench.Figures) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", f.Median, f.Min, f.Max)
}
