package bench_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
)

func TestBuildsAreSummedUpByStage(t *testing.T) {
	t.Parallel()
	got := bench.SumImages("web", []bench.ImageBuild{
		{Seconds: 200, Stages: map[string]float64{"disk": 10, "check": 60}, Busy: 0.111},
		{Seconds: 180, Stages: map[string]float64{"disk": 12, "check": 50}},
	})
	want := bench.Images{
		Schema: 1, Bench: "image", Name: "web", Runs: 2, BusyCPUs: []float64{0.11, 0},
		Image: bench.ImageStages{
			Build: &bench.Seconds{Min: 180, Median: 190, Max: 200},
			Stages: map[string]*bench.Seconds{
				"disk": {Min: 10, Median: 11, Max: 12}, "check": {Min: 50, Median: 55, Max: 60},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
