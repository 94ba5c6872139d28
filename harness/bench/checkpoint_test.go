package bench_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
)

func TestRoundsAreSummedUp(t *testing.T) {
	t.Parallel()
	got := bench.Checkpoints{Schema: bench.Schema, Bench: "checkpoint", Image: "web", Start: "cold", Accelerator: "tcg", BusyCPUs: []float64{0.5}}
	bench.CheckpointTimes{
		Checkpoint: []float64{1, 3, 2}, Revert: []float64{4, 4, 5}, Answer: []float64{7, 8, 9}, Settled: []float64{8, 9, 10},
		Memory: []float64{300, 200, 250}, Disk: []float64{50, 1, 3},
	}.Sum(&got)
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"schema":1,"bench":"checkpoint","image":"web","start":"cold","runs":3,` +
		`"checkpoint":{"min_s":1,"median_s":2,"max_s":3,` +
		`"first":{"memory":{"min_mib":300,"median_mib":300,"max_mib":300},"disk":{"min_mib":50,"median_mib":50,"max_mib":50}},` +
		`"later":{"memory":{"min_mib":200,"median_mib":225,"max_mib":250},"disk":{"min_mib":1,"median_mib":2,"max_mib":3}}},` +
		`"revert":{"min_s":4,"median_s":4,"max_s":5,` +
		`"answer":{"min_s":7,"median_s":8,"max_s":9},"settled":{"min_s":8,"median_s":9,"max_s":10}},` +
		`"accelerator":"tcg","busy_cpus":[0.5]}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
}
