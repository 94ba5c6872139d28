package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

func figure(least, median, most float64) *bench.Figures {
	return &bench.Figures{Min: least, Median: median, Max: most}
}

func measuredOverhead() bench.Overhead {
	return bench.Overhead{
		Schema: 1, Bench: "overhead", Scenario: "openssl-nginx", Image: report.Image{Name: "debian-12-web"},
		Host:                report.Host{Hypervisor: "libvirt 9.0.0, QEMU 7.2.22", Accelerator: "tcg"},
		TranslationCacheMiB: 64, SSH: "OpenSSH_9.2p1", Virsh: "9.0.0", Runs: 2, Baseline: []string{"measured", "cached"},
		BusyCPUs: []float64{0.1, 0, 0.04, 0},
		Steps: []bench.Row{
			{Step: "boot", Patchlab: figure(48, 49, 50), ByHand: figure(44, 44, 44), Difference: 5},
			{Step: "copy", Increment: "openssl", Patchlab: figure(8, 8, 8), ByHand: figure(3, 3.25, 3.5), Difference: 4.75},
			{Step: "check", ByHand: figure(10, 10, 10), Difference: -10},
		},
		Same:    bench.Row{Step: "same", Patchlab: figure(57, 57, 57), ByHand: figure(57.25, 57.25, 57.25), Difference: -0.25},
		Beyond:  []bench.Row{{Step: "captures", Patchlab: figure(8, 8, 8), Difference: 8}},
		Total:   bench.Row{Step: "total", Patchlab: figure(65, 65, 65), ByHand: figure(57.25, 57.25, 57.25), Difference: 7.75},
		RunDirs: []string{"/runs/r1", "/runs/r2"},
	}
}

func TestTheOverheadIsATable(t *testing.T) {
	t.Parallel()
	const want = `openssl-nginx on debian-12-web, 2 times in turn, median (least to most), seconds

                             patchlab        by hand  difference
  boot               49.0 (48.0-50.0)           44.0        +5.0
  copy openssl                    8.0  3.2 (3.0-3.5)        +4.8
  check                             -           10.0       -10.0
the same steps                   57.0           57.2        -0.2
only patchlab:
  captures of facts               8.0              -        +8.0
in all                           65.0           57.2        +7.8

libvirt 9.0.0, QEMU 7.2.22, tcg with a tb-cache of 64 MiB on both sides; OpenSSH_9.2p1; virsh 9.0.0
boot and reboot by hand end with the first answer over ssh, patchlab's when the guest has settled
baseline and control: measured, cached
the host was quiet: at most 0.1 CPUs were busy before a measurement
evidence: /runs/r1
evidence: /runs/r2
`
	if diff := cmp.Diff(want, overheadTable(measuredOverhead())); diff != "" {
		t.Error(diff)
	}
}

func TestABusyHostIsTold(t *testing.T) {
	t.Parallel()
	o := measuredOverhead()
	o.BusyCPUs[2] = 1.7
	if got := overheadTable(o); !strings.Contains(got, "NOT quiet: up to 1.7 CPUs") {
		t.Error(got)
	}
}

// TestTheNamesOfTheOverheadStay is about what programs read: names are added, never changed.
func TestTheNamesOfTheOverheadStay(t *testing.T) {
	t.Parallel()
	o := measuredOverhead()
	o.Steps, o.Beyond = o.Steps[1:2], nil
	got, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"schema":1,"bench":"overhead","scenario":"openssl-nginx","image":{"name":"debian-12-web","digest":""},` +
		`"host":{"hypervisor":"libvirt 9.0.0, QEMU 7.2.22","accelerator":"tcg","slowness":0},"translation_cache_mib":64,` +
		`"ssh":"OpenSSH_9.2p1","virsh":"9.0.0","runs":2,"baseline":["measured","cached"],"busy_cpus":[0.1,0,0.04,0],` +
		`"steps":[{"step":"copy","increment":"openssl","patchlab_seconds":{"min":8,"median":8,"max":8},` +
		`"by_hand_seconds":{"min":3,"median":3.25,"max":3.5},"difference_seconds":4.75}],` +
		`"same":{"step":"same","patchlab_seconds":{"min":57,"median":57,"max":57},` +
		`"by_hand_seconds":{"min":57.25,"median":57.25,"max":57.25},"difference_seconds":-0.25},"beyond":null,` +
		`"total":{"step":"total","patchlab_seconds":{"min":65,"median":65,"max":65},` +
		`"by_hand_seconds":{"min":57.25,"median":57.25,"max":57.25},"difference_seconds":7.75},"phases":null,"run_dirs":["/runs/r1","/runs/r2"]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestEveryStepHasWords(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		bench.Define, bench.Boot, bench.Copy, bench.Install, bench.Restart, bench.Check, bench.Reboot, bench.Teardown,
		bench.Baseline, bench.Captures, bench.Suites, bench.Rest,
	} {
		if stepTitles[name] == "" {
			t.Errorf("%s has none", name)
		}
	}
}

func TestAnOverheadThatCannotBeMeasuredIsRefusedFirst(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no virsh, no ssh
	tests := map[string]struct {
		arguments []string
		code      int
		want      string
	}{
		"no programs":         {nil, verdict.Testbed.ExitCode(), "apt-get install libvirt-clients"},
		"no runs":             {[]string{"--runs", "0"}, verdict.ExitUsage, "--runs is 0"},
		"not packages of apt": {[]string{"zoo/service-disabled"}, verdict.ExitUsage, "not to be done by hand"},
		"no such scenario":    {[]string{"nowhere"}, verdict.ExitUsage, "nowhere"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSession(t)
			if code := s.run(append([]string{"bench", "overhead"}, test.arguments...)...); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if !strings.Contains(s.stderr.String(), test.want) {
				t.Errorf("no %q in %s", test.want, s.stderr.String())
			}
		})
	}
}

func TestOnlyARunThatPassesIsComparedWith(t *testing.T) {
	t.Parallel()
	err := passed(t.Context(), report.Result{Run: "r1", Outcome: verdict.Regression, RunDir: "/runs/r1"}, nil)
	exit, ok := errors.AsType[*exitError](err)
	if !ok || exit.code != verdict.Regression.ExitCode() || !strings.Contains(err.Error(), "/runs/r1") {
		t.Errorf("got %v", err)
	}
	if err := passed(t.Context(), report.Result{Run: "r1", Outcome: verdict.Pass}, nil); err != nil {
		t.Errorf("a pass: %v", err)
	}
}

func TestALookOfGCAtTheRunIsWaitedFor(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		gc, err := rundir.Lock(path)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error)
		go func() {
			dir, err := lockAgain(t.Context(), path)
			if err == nil {
				err = dir.Close()
			}
			got <- err
		}()
		synctest.Wait() // it has met the lock
		if err := gc.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

func TestARunThatIsAliveIsNotWaitedForForever(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		live, err := rundir.Lock(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = live.Close() }()
		if _, err := lockAgain(t.Context(), path); !errors.Is(err, rundir.ErrLocked) {
			t.Errorf("got %v", err)
		}
	})
}
