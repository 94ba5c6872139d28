package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
)

func took(least, median, most float64) *bench.Seconds {
	return &bench.Seconds{Min: least, Median: median, Max: most}
}

func holds(mebibytes float64) *bench.MiB {
	return &bench.MiB{Min: mebibytes, Median: mebibytes, Max: mebibytes}
}

func TestClonesAreATable(t *testing.T) {
	t.Parallel()
	measured := bench.Clones{
		Image: "debian-12-web", Runs: 5, Accelerator: "tcg", TranslationCacheMiB: 64, Template: took(68, 68, 68), BusyCPUs: []float64{0.1},
		Clone: bench.CloneKinds{
			Warm: bench.Clone{
				Seconds: took(3, 4, 5), Running: took(0.5, 0.6, 0.6), Complete: took(3, 3, 3), Answer: took(2, 3, 4), First: took(2, 2, 2), Later: took(1, 1, 1),
				Idle:   &bench.Memory{Clones: 4, Idle: 60, Pss: &bench.MiB{Min: 158, Median: 159, Max: 160}, Private: holds(130)},
				Worked: &bench.Memory{Clones: 1, Idle: 60, Pss: holds(280), Private: holds(270)},
			},
			Cold: &bench.Clone{
				Seconds: took(53, 53, 53), Running: took(0.5, 0.5, 0.5), Answer: took(50, 50, 50), First: took(2, 2, 2), Later: took(1, 1, 1),
				Worked: &bench.Memory{Clones: 1, Idle: 60, Pss: holds(427), Private: holds(420)},
			},
		},
	}
	const want = `clones of debian-12-web, median (least to most) of 5, seconds

                                from the template  by a boot
  domain runs                       0.6 (0.5-0.6)        0.5
  complete set of facts told                  3.0          -
  first answer over ssh             3.0 (2.0-4.0)       50.0
  settled                           4.0 (3.0-5.0)       53.0
  then: a set of facts takes                  2.0        2.0
  later ones                                  1.0        1.0
MiB of each further clone, 4 at once, 60 s idle
  Pss                         159.0 (158.0-160.0)          -
  of its own                                130.0          -
MiB of a single clone, 60 s after three sets of facts
  Pss                                       280.0      427.0
  of its own                                270.0      420.0

the template was made in 68.0 s
tcg with a tb-cache of 64 MiB; the host was quiet: at most 0.1 CPUs were busy before a measurement
`
	if diff := cmp.Diff(want, cloneTable(measured)); diff != "" {
		t.Error(diff)
	}
}
