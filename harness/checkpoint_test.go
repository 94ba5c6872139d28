package harness_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/gc"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

// keepRun runs two increments and keeps the guest.
func (l *lab) keepRun() report.Result {
	l.t.Helper()
	l.onApply["one"] = func(s *server) { s.upgrade("libssl3:amd64", "2") }
	l.onApply["two"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
	options := l.options()
	options.Keep = true
	result, err := harness.Run(l.t.Context(), l.lab(), scripted("one", "two"), options)
	if err != nil {
		l.t.Fatalf("running the scenario: %v", err)
	}
	return result
}

// end takes the kept guests away.
func (l *lab) end() {
	l.t.Helper()
	_, err := gc.Sweep(l.t.Context(), gc.Options{Drivers: []hypervisor.Driver{l.driver}, RunsDir: filepath.Join(l.dir, "runs"), Kept: true})
	if err != nil {
		l.t.Error(err)
	}
	l.checkNothingLeft()
	if left, err := filepath.Glob(filepath.Join(l.dir, "runs", "*", rundir.Checkpoints)); err != nil || len(left) > 0 {
		l.t.Errorf("checkpoints are left: %v, %v", left, err)
	}
}

// versions tells what is installed in the guest of a run.
func (l *lab) versions(result report.Result) [2]string {
	s := l.servers["patchlab-"+result.Run+"-run"]
	return [2]string{s.get("libssl3:amd64", "version"), s.get("nginx:amd64", "version")}
}

func (l *lab) openKept(result report.Result) *harness.KeptGuest {
	l.t.Helper()
	kept, err := harness.OpenKept(l.t.Context(), l.lab(), result.RunDir)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = kept.Close() }) // most have been closed
	return kept
}

func names(t *testing.T, kept *harness.KeptGuest) []string {
	t.Helper()
	listed, err := kept.Checkpoints(t.Context())
	if err != nil {
		t.Error(err)
	}
	var names []string
	for _, one := range listed {
		names = append(names, one.Name)
	}
	return names
}

func TestAKeptGuestGoesBackToBeforeEachIncrement(t *testing.T) {
	t.Parallel()
	for _, warm := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			l.warm = warm
			l.onUp = func(s *server) { s.deaf = !warm }
			result := l.keepRun()
			if result.Outcome != verdict.Pass || l.versions(result) != [2]string{"2", "2"} {
				t.Errorf("the run: %s (%s), versions %v", result.Outcome, result.Reason, l.versions(result))
			}
			kept := l.openKept(result)
			if diff := cmp.Diff([]string{"before-one", "before-two"}, names(t, kept)); diff != "" {
				t.Error(diff)
			}
			woken := 0
			l.onWake = func(*server) { woken++ }
			addresses := map[string]bool{}
			for i, step := range []struct {
				name string
				want [2]string
			}{{"before-two", [2]string{"2", "1"}}, {"before-one", [2]string{"1", "1"}}, {"before-two", [2]string{"2", "1"}}} {
				reverted, err := kept.Revert(t.Context(), step.name)
				if err != nil {
					t.Fatalf("reverting to %s: %v", step.name, err)
				}
				if got := l.versions(result); got != step.want {
					t.Errorf("at %s the versions are %v, want %v", step.name, got, step.want)
				}
				if woken != i+1 {
					t.Errorf("the clock was set %d times after %d reverts", woken, i+1)
				}
				record, err := rundir.ReadKept(result.RunDir)
				if err != nil || record.Address != reverted.Address || addresses[record.Address] {
					t.Errorf("the guest is at %s, on record at %s (%v)", reverted.Address, record.Address, err)
				}
				addresses[record.Address] = true
			}
			if err := kept.Close(); err != nil {
				t.Error(err)
			}
			l.end()
		})
	}
}

func TestAKeptGuestThatIsOffIsBroughtBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newWarmLab(t)
		result := l.keepRun()
		if err := l.driver.Kill("patchlab-" + result.Run + "-run"); err != nil {
			t.Fatal(err)
		}
		kept := l.openKept(result)
		if _, err := kept.Revert(t.Context(), "before-one"); err != nil {
			t.Error(err)
		}
		if got := l.versions(result); got != [2]string{"1", "1"} {
			t.Errorf("the versions are %v", got)
		}
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
		l.end()
	})
}

func TestARevertThatFailsLeavesTheCheckpoints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newWarmLab(t)
		result := l.keepRun()
		kept := l.openKept(result)
		if _, err := kept.Revert(t.Context(), "before-three"); !errors.Is(err, hypervisor.ErrNoCheckpoint) {
			t.Errorf("reverting to what is not there gives %v", err)
		}
		fault := errors.New("no memory")
		l.driver.FailNext(fake.Revert, fault)
		if _, err := kept.Revert(t.Context(), "before-one"); !errors.Is(err, fault) {
			t.Errorf("it gives %v", err)
		}
		if _, err := kept.Revert(t.Context(), "before-one"); err != nil {
			t.Errorf("again it gives %v", err)
		}
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
		l.end()
	})
}

func TestOnlyAKeptGuestHasCheckpoints(t *testing.T) {
	t.Parallel()
	l := newWarmLab(t)
	taken := 0
	before := l.driver.OnCheckpoint
	l.driver.OnCheckpoint = func(spec hypervisor.DomainSpec, name string) { before(spec, name); taken++ }
	result := l.run(scripted("openssl"))
	if taken != 0 || statusOf(result, "checkpoint") != "not there" {
		t.Errorf("%d checkpoints of a run that keeps nothing (%s)", taken, statusOf(result, "checkpoint"))
	}
	if _, err := harness.OpenKept(t.Context(), l.lab(), result.RunDir); !errors.Is(err, harness.ErrNotKept) {
		t.Errorf("its guest opens with %v", err)
	}
}

func TestWithoutCheckpointsARunGoesOnAndSaysWhy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		arrange func(*lab)
		want    []string // status of the phases
	}{
		{"nothing is proven", func(l *lab) { l.neverBack = true }, []string{
			"it is not proven that a revert undoes here what came after its checkpoint: its disk was not undone; " +
				"see the line checkpoints of `patchlab doctor`",
		}},
		{"the first one fails", func(l *lab) { l.driver.FailNext(fake.Checkpoint, errors.New("no room")) }, []string{"failed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newWarmLab(t)
				test.arrange(l)
				result := l.keepRun()
				var got []string
				for _, p := range result.Phases {
					if p.Name == "checkpoint" {
						got = append(got, p.Status)
					}
				}
				if diff := cmp.Diff(test.want, got); diff != "" || result.Outcome != verdict.Pass {
					t.Errorf("%s (%s): %s", result.Outcome, result.Reason, diff)
				}
				kept := l.openKept(result)
				if got := names(t, kept); len(got) != 0 {
					t.Errorf("there are %v", got)
				}
				if _, err := kept.Revert(t.Context(), "before-one"); err == nil {
					t.Error("a revert to nothing succeeded")
				}
				if err := kept.Close(); err != nil {
					t.Error(err)
				}
				l.end()
			})
		})
	}
}

func TestARevertIsNotTakenForTheEndOfTheGuest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newWarmLab(t)
		before := l.driver.OnDestroy
		l.driver.OnDestroy = func(spec hypervisor.DomainSpec) {
			before(spec)
			<-time.After(10 * time.Second) // long enough for somebody to look
		}
		trial, err := harness.TryClone(t.Context(), l.lab(), "debian-12-web", harness.TrialOptions{Sink: l.options().Sink, Rounds: 2})
		if err != nil {
			t.Fatal(err)
		}
		if len(trial.Rounds) != 2 || trial.Rounds[0].MemoryBytes == 0 {
			t.Errorf("the rounds are %+v", trial.Rounds)
		}
		l.checkNothingLeft()
	})
}

func TestARevertThatUndoesNothingIsNotMeasured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newWarmLab(t)
		l.driver.OnRevert = func(spec hypervisor.DomainSpec, _ string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			as := l.servers[spec.Name]
			as.keep("now")
			l.servers[spec.Name] = as.back("now")
		}
		_, err := harness.TryClone(t.Context(), l.lab(), "debian-12-web", harness.TrialOptions{Sink: l.options().Sink, Rounds: 1})
		if err == nil || !strings.Contains(err.Error(), "the revert has not undone") {
			t.Errorf("it is measured: %v", err)
		}
		l.neverBack = true
		_, err = harness.TryClone(t.Context(), l.lab(), "debian-12-web", harness.TrialOptions{Sink: l.options().Sink, Rounds: 1})
		if err == nil || !strings.Contains(err.Error(), "not proven") {
			t.Errorf("without a proof it is measured: %v", err)
		}
		l.checkNothingLeft()
	})
}

func TestARunIsLockedWhileItsGuestIsBroughtBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newWarmLab(t)
		result := l.keepRun()
		kept := l.openKept(result)
		if _, err := harness.OpenKept(context.WithoutCancel(t.Context()), l.lab(), result.RunDir); !errors.Is(err, rundir.ErrLocked) {
			t.Errorf("a second one opens with %v", err)
		}
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
		l.end()
	})
}
