package bench_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/report"
)

func TestThePhasesOfSeveralRuns(t *testing.T) {
	t.Parallel()
	got := bench.Phases([]report.Result{
		{Phases: []report.Phase{
			{Name: "baseline", Seconds: 60, Status: "done", Steps: map[string]float64{"boot": 50}},
			{Name: "teardown", Seconds: 1, Status: "done"},
			{Name: "apply", Increment: "a", Seconds: 8, Status: "done", Steps: map[string]float64{"install": 5}},
			{Name: "teardown", Seconds: 2, Status: "done"},
		}},
		{Phases: []report.Phase{
			{Name: "baseline", Status: "cached"},
			{Name: "apply", Increment: "a", Seconds: 10, Status: "done", Steps: map[string]float64{"install": 6}},
			{Name: "teardown", Seconds: 2, Status: "done"},
		}},
	})
	seconds := func(least, median, most float64) *bench.Seconds {
		return &bench.Seconds{Min: least, Median: median, Max: most}
	}
	want := []bench.Phase{
		{Name: "baseline", Seconds: seconds(60, 60, 60), Steps: map[string]*bench.Seconds{"boot": seconds(50, 50, 50)}},
		{Name: "apply", Increment: "a", Seconds: seconds(8, 9, 10), Steps: map[string]*bench.Seconds{"install": seconds(5, 5.5, 6)}},
		{Name: "teardown", Seconds: seconds(2, 2.5, 3)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := bench.Phases(nil); got == nil || len(got) != 0 {
		t.Errorf("no runs: %v, want an empty list", got)
	}
}
