package bench_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
)

// TestTheNamesOfAllStay is about what programs read: names are added, never changed.
func TestTheNamesOfAllStay(t *testing.T) {
	t.Parallel()
	one := &bench.Seconds{Min: 1, Median: 2, Max: 3}
	all := bench.All{Schema: 1, Bench: "all", Runs: 5}
	all.Take(
		bench.Start{Start: bench.StartKinds{Help: &bench.Milliseconds{Min: 9, Median: 10, Max: 11}}, BusyCPUs: []float64{0.1}},
		bench.Clones{Clone: bench.CloneKinds{Warm: bench.Clone{Seconds: one}, Cold: &bench.Clone{Seconds: one}}, BusyCPUs: []float64{0.2}, Accelerator: "tcg", TranslationCacheMiB: 64},
		bench.Checkpoints{Checkpoint: bench.Checkpoint{Seconds: one}, Revert: bench.Revert{Seconds: one}, BusyCPUs: []float64{0.25}},
		bench.Parallel{Parallel: bench.ParallelWays{AtOnce: bench.Way{Seconds: one}}, Throughput: &bench.Figures{Min: 1, Median: 2, Max: 3}, BusyCPUs: []float64{0.3}},
		bench.Images{Image: bench.ImageStages{Build: one}, BusyCPUs: []float64{0.4}},
	)
	got, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	const seconds = `"min_s":1,"median_s":2,"max_s":3`
	const clone = `{` + seconds + `,"running":null,"answer":null,"first_capture":null,"later_captures":null}`
	const want = `{"schema":1,"bench":"all","runs":5,"start":{"help":{"min_ms":9,"median_ms":10,"max_ms":11},"image_list":null},` +
		`"clone":{"warm":` + clone + `,"cold":` + clone + `},` +
		`"checkpoint":{` + seconds + `,"first":{},"later":{}},"revert":{` + seconds + `,"answer":null,"settled":null},` +
		`"parallel":{"one_after_the_other":{"run":null,"cpus":null,"own_cpu":null,"phases":null},` +
		`"at_once":{` + seconds + `,"run":null,"cpus":null,"own_cpu":null,"phases":null}},` +
		`"throughput":{"min":1,"median":2,"max":3},"image":{"build":{` + seconds + `},"stages":null},` +
		`"translation_cache_mib":64,"accelerator":"tcg","busy_cpus":[0.1,0.2,0.25,0.3,0.4]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}
