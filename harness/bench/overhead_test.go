package bench_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/report"
)

// phases are those of a run that restarts something after its first increment.
func phases(baseline ...report.Phase) []report.Phase {
	return append(baseline,
		report.Phase{Name: "prepare", Seconds: 52, Steps: map[string]float64{"clone": 1, "boot": 48, "suites": 2}},
		report.Phase{Name: "apply", Increment: "a", Seconds: 20, Steps: map[string]float64{"stage": 8, "install": 10, "capture": 2}},
		report.Phase{Name: "settle", Increment: "a", Seconds: 13, Steps: map[string]float64{"restart": 12, "capture": 1}},
		report.Phase{Name: "apply", Increment: "b", Seconds: 18, Steps: map[string]float64{"stage": 7, "install": 9, "capture": 2}},
		report.Phase{Name: "compare", Seconds: 2, Steps: map[string]float64{"suites": 2}},
		report.Phase{Name: "reboot", Seconds: 63, Steps: map[string]float64{"boot": 60, "capture": 3}},
		report.Phase{Name: "compare", Seconds: 3, Steps: map[string]float64{"suites": 3}},
		report.Phase{Name: "teardown", Seconds: 1},
	)
}

var cached = []report.Phase{{Name: "baseline", Status: "cached"}, {Name: "control", Status: "cached"}}

// measured is a baseline that took 100 s, with the end of its own clone.
var measured = []report.Phase{
	{Name: "baseline", Seconds: 50, Steps: map[string]float64{"boot": 45, "capture": 5}},
	{Name: "control", Seconds: 48, Steps: map[string]float64{"boot": 45, "capture": 3}},
	{Name: "teardown", Seconds: 2},
}

func byHand(boot float64) []bench.Time {
	return []bench.Time{
		{"define", "", 2},
		{"boot", "", boot},
		{"copy", "a", 3},
		{"install", "a", 11},
		{"restart", "a", 9},
		{"copy", "b", 3},
		{"install", "b", 9.5},
		{"check", "", 4},
		{"reboot", "", 55},
		{"check", "", 6},
		{"teardown", "", 0.5},
	}
}

func one(seconds float64) *bench.Figures {
	return &bench.Figures{Min: seconds, Median: seconds, Max: seconds}
}

func TestARunIsComparedStepByStep(t *testing.T) {
	t.Parallel()
	pair := bench.Pair{
		Run:  report.Result{Scenario: "s", RunDir: "/runs/r1", Phases: phases(cached...)},
		Wall: 175, ByHand: byHand(44), Busy: [2]float64{0.1, 0.2},
	}
	got := bench.Compare([]bench.Pair{pair})
	want := bench.Overhead{
		Schema: 1, Bench: "overhead", Scenario: "s", Runs: 1, Baseline: []string{"cached"}, BusyCPUs: []float64{0.1, 0.2},
		RunDirs: []string{"/runs/r1"},
		Steps: []bench.Row{
			{Step: "define", Patchlab: one(1), ByHand: one(2), Difference: -1},
			{Step: "boot", Patchlab: one(48), ByHand: one(44), Difference: 4},
			{Step: "copy", Increment: "a", Patchlab: one(8), ByHand: one(3), Difference: 5},
			{Step: "install", Increment: "a", Patchlab: one(10), ByHand: one(11), Difference: -1},
			{Step: "restart", Increment: "a", Patchlab: one(12), ByHand: one(9), Difference: 3},
			{Step: "copy", Increment: "b", Patchlab: one(7), ByHand: one(3), Difference: 4},
			{Step: "install", Increment: "b", Patchlab: one(9), ByHand: one(9.5), Difference: -0.5},
			{Step: "check", ByHand: one(10), Difference: -10}, // both checks
			{Step: "reboot", Patchlab: one(60), ByHand: one(55), Difference: 5},
			{Step: "teardown", Patchlab: one(1), ByHand: one(0.5), Difference: 0.5},
		},
		Same: bench.Row{Step: "same", Patchlab: one(156), ByHand: one(147), Difference: 9},
		Beyond: []bench.Row{
			{Step: "baseline", Patchlab: one(0), Difference: 0},
			{Step: "captures", Patchlab: one(8), Difference: 8},
			{Step: "suites", Patchlab: one(7), Difference: 7},
			{Step: "rest", Patchlab: one(4), Difference: 4},
		},
		Total:  bench.Row{Step: "total", Patchlab: one(175), ByHand: one(147), Difference: 28},
		Phases: bench.Phases([]report.Result{pair.Run}),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !bench.Quiet(got.BusyCPUs) {
		t.Error("0.2 CPUs are quiet enough")
	}
}

func TestOfSeveralRunsTheMedianIsCompared(t *testing.T) {
	t.Parallel()
	var pairs []bench.Pair
	for i, boot := range []float64{44, 50, 41} {
		known := cached
		wall := 175.0
		if i == 0 {
			known, wall = measured, 275
		}
		pairs = append(pairs, bench.Pair{
			Run: report.Result{Phases: phases(known...)}, Wall: wall, ByHand: byHand(boot), Busy: [2]float64{0, float64(i)},
		})
	}
	got := bench.Compare(pairs)
	want := bench.Row{
		Step: "boot", Patchlab: one(48), ByHand: &bench.Figures{Min: 41, Median: 44, Max: 50}, Difference: 4,
	}
	if diff := cmp.Diff(want, got.Steps[1]); diff != "" {
		t.Error(diff)
	}
	wantBaseline := bench.Row{Step: "baseline", Patchlab: &bench.Figures{Min: 0, Median: 0, Max: 100}}
	if diff := cmp.Diff(wantBaseline, got.Beyond[0]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"measured", "cached", "cached"}, got.Baseline); diff != "" {
		t.Error(diff)
	}
	// The clone of the baseline is not the one that is compared.
	last := got.Steps[len(got.Steps)-1]
	if diff := cmp.Diff(bench.Row{Step: "teardown", Patchlab: one(1), ByHand: one(0.5), Difference: 0.5}, last); diff != "" {
		t.Error(diff)
	}
	if bench.Quiet(got.BusyCPUs) {
		t.Error("2 busy CPUs count as quiet")
	}
}

func TestOfAnEvenNumberTheMedianLiesBetween(t *testing.T) {
	t.Parallel()
	var pairs []bench.Pair
	for _, boot := range []float64{40, 50} {
		pairs = append(pairs, bench.Pair{Run: report.Result{Phases: phases(cached...)}, Wall: 175, ByHand: byHand(boot)})
	}
	if got := bench.Compare(pairs).Steps[1].ByHand.Median; got != 45 {
		t.Errorf("the median of 40 and 50 is %v", got)
	}
}
