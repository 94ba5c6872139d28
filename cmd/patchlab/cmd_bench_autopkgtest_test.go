package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/report"
)

func TestAComparisonWithAutopkgtestIsATable(t *testing.T) {
	t.Parallel()
	against := bench.Against{
		Scenario: "openssl-nginx", Image: report.Image{Name: "debian-12-web"}, Runs: 3, Goal: 165, Reached: true, ColdBoot: took(50, 50, 50),
		Host: report.Host{Hypervisor: "QEMU 7.2.22", Accelerator: "tcg"}, TranslationCacheMiB: 64, BusyCPUs: []float64{0.1}, RunDirs: []string{"/runs/r1"},
		Patchlab: bench.Side{
			Seconds: took(160, 164, 166), Version: "v1", QEMU: []string{"qemu", "-m", "768"},
			Steps: []bench.Step{{Step: "boot", Seconds: took(0, 0, 0)}, {Step: "install", Increment: "openssl", Seconds: took(5, 5, 5)}},
		},
		Peer: bench.Side{
			Seconds: took(198, 200, 202), Version: "5.28", QEMU: []string{"qemu", "-virtfs"},
			Steps: []bench.Step{{Step: "boot", Seconds: took(100, 103, 107)}},
		},
	}
	const want = `openssl-nginx on debian-12-web, 3 times in turn, seconds

patchlab v1
  boot                                  0.0
  install openssl                       5.0
in all                  164.0 (160.0-166.0)
autopkgtest 5.28
  boot                  103.0 (100.0-107.0)
in all                  200.0 (198.0-202.0)
a cold boot of a clone                 50.0

goal, autopkgtest less 0.7 of a cold boot: 165.0 s, reached
autopkgtest's boot holds what it readies in the guest, and the copy of the packages
QEMU 7.2.22, tcg with a tb-cache of 64 MiB on both sides; the host was quiet: at most 0.1 CPUs were busy before a measurement

patchlab's machine: qemu -m 768

autopkgtest's machine: qemu -virtfs

evidence: /runs/r1
`
	if diff := cmp.Diff(want, autopkgtestTable(against)); diff != "" {
		t.Error(diff)
	}
}
