package bench_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
)

func ended(name, dir string, outcome verdict.Outcome, phases ...report.Phase) report.Result {
	return report.Result{Scenario: name, RunDir: dir, Outcome: outcome, Phases: phases, Host: report.Host{Accelerator: "tcg"}}
}

func TestWaysAreComparedRoundByRound(t *testing.T) {
	t.Parallel()
	round := func(inTurn, atOnce float64) bench.ParallelRound {
		return bench.ParallelRound{
			InTurn: bench.Round{
				Results: []report.Result{ended("a", "/1", verdict.Pass), ended("b", "/2", verdict.Pass)},
				Runs:    []float64{inTurn / 2, inTurn / 2}, Use: bench.Use{Seconds: inTurn, Busy: 1.1, Own: 4},
			},
			AtOnce: bench.Round{
				Results: []report.Result{ended("a", "/3", verdict.Pass), ended("b", "/4", verdict.Pass)},
				Runs:    []float64{atOnce - 1, atOnce}, Use: bench.Use{Seconds: atOnce, Busy: 1.9, Own: 4.5},
			},
			Busy: [2]float64{0.1, 0.2},
		}
	}
	got := bench.CompareWays([]bench.ParallelRound{round(200, 125), round(204, 120)})
	one := func(value float64) *bench.Seconds { return &bench.Seconds{Min: value, Median: value, Max: value} }
	want := bench.Parallel{
		Schema: 1, Bench: "parallel", Rounds: 2, Host: report.Host{Accelerator: "tcg"}, BusyCPUs: []float64{0.1, 0.2, 0.1, 0.2},
		RunDirs:    []string{"/1", "/2", "/3", "/4", "/1", "/2", "/3", "/4"},
		Throughput: &bench.Figures{Min: 1.6, Median: 1.65, Max: 1.7},
		Parallel: bench.ParallelWays{
			InTurn: bench.Way{
				Seconds: &bench.Seconds{Min: 200, Median: 202, Max: 204}, Run: &bench.Seconds{Min: 100, Median: 101, Max: 102},
				Busy: &bench.Figures{Min: 1.1, Median: 1.1, Max: 1.1}, Own: one(4), Step: []bench.Phase{},
			},
			AtOnce: bench.Way{
				Seconds: &bench.Seconds{Min: 120, Median: 122.5, Max: 125}, Run: &bench.Seconds{Min: 119, Median: 122, Max: 125},
				Busy: &bench.Figures{Min: 1.9, Median: 1.9, Max: 1.9}, Own: one(4.5), Step: []bench.Phase{},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestARunThatLearnedIsNoMeasure(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]bool{"cached": false, "done": true} {
		if got := bench.Learned(ended("a", "", verdict.Pass, report.Phase{Name: "template", Status: status})); got != want {
			t.Errorf("a template that was %s: %v", status, got)
		}
	}
	if bench.Learned(ended("a", "", verdict.Pass, report.Phase{Name: "apply", Status: "done"})) {
		t.Error("every run applies something")
	}
}

func TestRunsThatDoNotAgreeAreRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		alone, beside verdict.Outcome
		want          string
	}{
		"a regression on both sides":  {verdict.Regression, verdict.Regression, ""},
		"the lab failed":              {verdict.Pass, verdict.Testbed, "nothing to compare"},
		"broken beside others":        {verdict.Pass, verdict.Regression, "ended with pass alone and with regression beside others"},
		"interrupted before it ended": {verdict.Interrupted, verdict.Interrupted, "nothing to compare"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := bench.Comparable(bench.ParallelRound{
				InTurn: bench.Round{Results: []report.Result{ended("a", "/1", test.alone)}},
				AtOnce: bench.Round{Results: []report.Result{ended("a", "/2", test.beside)}},
			})
			if (err == nil) != (test.want == "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestWhatIsUsedIsMeasured(t *testing.T) {
	t.Parallel()
	meter, err := bench.NewMeter()
	if err != nil {
		t.Fatal(err)
	}
	use, err := meter.Read()
	if err != nil || use.Seconds <= 0 || use.Busy < 0 || use.Own < 0 {
		t.Errorf("%+v, %v", use, err)
	}
}
