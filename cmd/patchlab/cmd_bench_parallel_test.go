package main

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

func TestWhatHadToBeLearnedIsNotCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls, running, most atomic.Int32
		b := parallelBench{
			jobs: 2, sink: progress.Discard{}, scenarios: []scenario.Scenario{{Name: "a"}, {Name: "b"}},
			runner: func(_ context.Context, request runRequest) (report.Result, error) {
				most.Store(max(most.Load(), running.Add(1)))
				defer running.Add(-1)
				<-time.After(time.Second) // so that those at once meet
				result := report.Result{Scenario: request.Scenario.Name, Outcome: verdict.Pass}
				if calls.Add(1) == 1 {
					result.Phases = []report.Phase{{Name: "baseline", Status: "done", Seconds: 60}}
				}
				return result, nil
			},
		}
		rounds, err := b.measure(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		// Two to learn, then two rounds of both ways.
		if len(rounds) != 2 || calls.Load() != 10 || most.Load() != 2 {
			t.Errorf("%d rounds with %d runs, %d at once", len(rounds), calls.Load(), most.Load())
		}
		for _, r := range rounds {
			if r.InTurn.Use.Seconds != 2 || r.AtOnce.Use.Seconds != 1 || slices.ContainsFunc(r.InTurn.Results, bench.Learned) {
				t.Errorf("got %+v", r)
			}
		}
	})
}

func TestRunsAtOnceAreATable(t *testing.T) {
	t.Parallel()
	phases := func(boot, wait float64) []bench.Phase {
		return []bench.Phase{
			{Name: "apply", Increment: "openssl", Steps: map[string]*bench.Seconds{"install": took(boot/10, boot/10, boot/10), "wait": took(wait, wait, wait)}},
			{Name: "reboot", Steps: map[string]*bench.Seconds{"boot": took(boot, boot, boot)}},
		}
	}
	got := parallelTable(bench.Parallel{
		Scenarios: []string{"a", "a"}, Jobs: 2, CPUs: 2, Rounds: 3, Host: report.Host{Accelerator: "tcg"}, TranslationCacheMiB: 64,
		Throughput: &bench.Figures{Min: 1.6, Median: 1.65, Max: 1.7}, BusyCPUs: []float64{0.1},
		Parallel: bench.ParallelWays{
			InTurn: bench.Way{Seconds: took(200, 202, 204), Run: took(100, 101, 102), Busy: figure(1.1, 1.1, 1.1), Own: took(4, 4, 4), Step: phases(60, 0.1)},
			AtOnce: bench.Way{Seconds: took(120, 122.5, 125), Run: took(119, 122, 125), Busy: figure(1.9, 1.9, 1.9), Own: took(5, 5, 5), Step: phases(70, 0.2)},
		},
	})
	const want = `a, a: 2 at once on 2 CPUs, median (least to most) of 3 rounds

                                one after the other              at once
all runs, seconds               202.0 (200.0-204.0)  122.5 (120.0-125.0)
a single run, seconds           101.0 (100.0-102.0)  122.0 (119.0-125.0)
CPUs that were busy                             1.1                  1.9
CPU seconds of patchlab itself                  4.0                  5.0
steps of a run, seconds:
  apply openssl: install                        6.0                  7.0
  reboot: boot                                 60.0                 70.0

throughput: 1.65 (1.60-1.70) times that of one after the other
tcg with a tb-cache of 64 MiB; the host was quiet: at most 0.1 CPUs were busy before a measurement
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestABenchThatCannotBeMadeIsRefusedFirst(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"a single scenario": {"parallel", "openssl-nginx"}, "one job": {"parallel", "--jobs", "1"}, "no round": {"parallel", "--runs", "0"},
		"no such scenario": {"parallel", "nowhere", "nowhere"}, "no call": {"start", "--runs", "0"}, "no build": {"image", "--runs", "0"},
		"no such manifest": {"image", "nowhere"}, "no clone": {"clone", "--runs", "0"},
		"no such peer": {"overhead", "--against", "nobody"}, "no such peer of all": {"--against", "nobody"}, "nothing of all": {"--runs", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			if code := s.run(append([]string{"bench"}, arguments...)...); code != verdict.ExitUsage || s.stderr.Len() == 0 {
				t.Errorf("exit code %d: %s", code, s.stderr.String())
			}
		})
	}
}

func TestOtherFiguresAreTables(t *testing.T) {
	t.Parallel()
	milliseconds := bench.Milliseconds{Min: 10, Median: 11, Max: 12}
	start := startTable(bench.Start{Runs: 20, Start: bench.StartKinds{Help: &milliseconds, ImageList: &milliseconds}})
	for _, want := range []string{"patchlab --help      11.0 (10.0-12.0)\n", "patchlab image list  11.0 (10.0-12.0)\n", "of 20, milliseconds"} {
		if !strings.Contains(start, want) {
			t.Errorf("no %q in\n%s", want, start)
		}
	}
	image := imageTable(bench.Images{Name: "web", Runs: 2, Accelerator: "tcg", Image: bench.ImageStages{
		Build: took(180, 190, 200), Stages: map[string]*bench.Seconds{"disk": took(10, 10, 10), "check": took(50, 50, 50)},
	}})
	const want = "  check                 50.0\n  disk                  10.0\nin all   190.0 (180.0-200.0)\n"
	if !strings.Contains(image, want) {
		t.Errorf("no %q in\n%s", want, image)
	}
}
