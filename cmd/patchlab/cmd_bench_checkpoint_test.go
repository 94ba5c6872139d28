package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/bench"
)

func TestTheTableOfCheckpoints(t *testing.T) {
	t.Parallel()
	measured := bench.Checkpoints{Image: "debian-12-web", Start: "warm", Accelerator: "tcg", TranslationCacheMiB: 64, BusyCPUs: []float64{0.1}}
	const mib = 1 << 20
	roundTimes([]harness.Round{
		{Checkpoint: 0.4, Running: 2.1, Told: 2.4, Answer: 4.4, Settled: 5.4, MemoryBytes: 230 * mib, DiskBytes: 3 * mib},
		{Checkpoint: 0.3, Running: 2.3, Told: 2.6, Answer: 4.8, Settled: 5.8, MemoryBytes: 228 * mib, DiskBytes: 1 * mib},
	}).Sum(&measured)
	const want = `checkpoints of a warm clone of debian-12-web, median (least to most) of 2, seconds

a checkpoint                       0.3 (0.3-0.4)
a revert, until the domain runs    2.2 (2.1-2.3)
  until the waiting probe answers  2.5 (2.4-2.6)
  until ssh answers                4.6 (4.4-4.8)
  until the guest has settled      5.6 (5.4-5.8)
on disk: memory of the first, MiB          230.0
  of each later one                        228.0
  disk of the first                          3.0
  of each later one                          1.0

tcg with a tb-cache of 64 MiB; the host was quiet: at most 0.1 CPUs were busy before a measurement
`
	if diff := cmp.Diff(want, checkpointTable(measured)); diff != "" {
		t.Error(diff)
	}
}
