package harness_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
)

func TestAHostWithTooLittleMemoryIsToldOfBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.onApply["openssl"] = func(s *server) { s.upgrade("libssl3:amd64", "2") }
	shared := l.lab()
	shared.Memory = harness.NewMemory(300) // the guest's 256 are not all that a clone needs
	result, err := harness.Run(t.Context(), shared, scripted("openssl"), l.options())
	if err != nil || result.Outcome != verdict.Testbed || !strings.Contains(result.Reason, "this host has 300 to spare") {
		t.Errorf("%s (%s), %v", result.Outcome, result.Reason, err)
	}
	if len(l.servers) != 0 {
		t.Errorf("%d guests were started", len(l.servers))
	}
	l.checkNothingLeft()
}

func TestRunsAtOnceKeepToTheMemory(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.onApply["openssl"] = func(s *server) { s.upgrade("libssl3:amd64", "2") }
	l.run(scripted("openssl")) // the baseline is there
	var running, most atomic.Int32
	start, destroy := l.driver.OnStart, l.driver.OnDestroy
	l.driver.OnStart = func(spec hypervisor.DomainSpec) error {
		if now := running.Add(1); now > most.Load() {
			most.Store(now)
		}
		return start(spec)
	}
	l.driver.OnDestroy = func(spec hypervisor.DomainSpec) { running.Add(-1); destroy(spec) }
	shared := l.lab()
	shared.Memory = harness.NewMemory(2 * (256 + 192)) // room for two
	results := make([]report.Result, 5)
	var group sync.WaitGroup
	for i := range results {
		group.Go(func() {
			var err error
			if results[i], err = harness.Run(t.Context(), shared, scripted("openssl"), l.options()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, result := range results {
		if result.Outcome != verdict.Pass {
			t.Errorf("%s: %s (%s)", result.Run, result.Outcome, result.Reason)
		}
	}
	if most.Load() > 2 {
		t.Errorf("%d clones ran at once, and there is memory for 2", most.Load())
	}
	l.checkNothingLeft()
}
