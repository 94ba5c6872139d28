package harness_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// withGiven adds a given state, whose script is the lab's onApply["given"].
func withGiven(s scenario.Scenario) scenario.Scenario {
	s.Given = &scenario.Increment{Name: "given", Script: "apply.sh"}
	return s
}

func TestAGivenStateIsMadeOnceAndIsNotTheCandidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["given"] = func(*server) { lab.given = true }
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		first := lab.run(withGiven(scripted("good")))
		if first.Outcome != verdict.Pass || len(first.Findings) > 0 {
			t.Fatalf("outcome %s (%s), findings %v", first.Outcome, first.Reason, ids(first))
		}
		want := "teardown:done, prepare given:done, baseline:done, control:done, teardown:done, prepare:done, apply good:done, " +
			"compare:done, audit:done, reboot:done, compare:done, teardown:done"
		if diff := cmp.Diff(want, phases(first)); diff != "" {
			t.Errorf("phases of the first run (-want +got):\n%s", diff)
		}
		if first.Image.Given == "" || first.Image.Given == first.Image.Digest {
			t.Errorf("image is %+v", first.Image)
		}
		second := lab.run(withGiven(scripted("good")))
		want = "prepare given:cached, baseline:cached, control:cached, prepare:done, apply good:done, compare:done, audit:done, reboot:done, " +
			"compare:done, teardown:done"
		if diff := cmp.Diff(want, phases(second)); diff != "" {
			t.Errorf("phases of the second run (-want +got):\n%s", diff)
		}
		if first.Lock.Digest != second.Lock.Digest {
			t.Error("what is given is part of the lock: it is not the candidate")
		}
		if lab.keysLeft {
			t.Error("the clone was turned off without clearing up in it")
		}
	})
}

func TestAGivenStateThatCannotBeMadeIsTheScenariosFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.exitCode = 3
		result, err := harness.Run(t.Context(), lab.lab(), withGiven(scripted("good")), lab.options())
		var fault *patch.ScenarioError
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), "exit code 3: applied") {
			t.Fatalf("error is %v", err)
		}
		log := filepath.Join(result.RunDir, "apply", "given.log")
		if _, err := os.Stat(log); err != nil || !strings.Contains(fault.Error(), log) {
			t.Errorf("its output is not where the error says: %v: %v", fault, err)
		}
		if len(result.Findings) > 0 || result.Outcome == verdict.ApplyFailed {
			t.Errorf("the candidate is blamed: %s, %v", result.Outcome, ids(result))
		}
		lab.checkNothingLeft()
		left, err := filepath.Glob(filepath.Join(lab.dir, "cache", "given", "*", "*", "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("half a derived image is kept: %v, %v", left, err)
		}
	})
}

func TestAGuestThatDiesWhileTheGivenStateIsMadeIsTheLabsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["given"] = func(s *server) { s.kill() }
		result, err := harness.Run(t.Context(), lab.lab(), withGiven(scripted("good")), lab.options())
		if err != nil || result.Outcome != verdict.Testbed {
			t.Errorf("outcome %s (%s), error %v", result.Outcome, result.Reason, err)
		}
		lab.checkNothingLeft()
	})
}

func TestASourceThatDoesNotBuildIsToldBeforeAnythingBoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		s := scripted("good")
		s.Dir = t.TempDir()
		if err := os.MkdirAll(filepath.Join(s.Dir, "src", "DEBIAN"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.Dir, "src", "DEBIAN", "control"), []byte("Package: x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Increments[0] = scenario.Increment{Name: "good", Packages: []string{"src"}}
		result, err := harness.Run(t.Context(), lab.lab(), s, lab.options())
		var fault *patch.ScenarioError
		if !errors.As(err, &fault) || len(result.Phases) > 0 {
			t.Errorf("error is %v, phases %s", err, phases(result))
		}
		lab.checkNothingLeft()
	})
}

func TestTheGivenStateIsTheSameForACandidateThatMayAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["given"] = func(*server) {}
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		kept, asked := withGiven(scripted("good")), withGiven(scripted("good"))
		kept.Conffiles, asked.Conffiles = scenario.ConffilesKeep, scenario.ConffilesAsk
		lab.run(kept)
		if got := phases(lab.run(asked)); !strings.HasPrefix(got, "prepare given:cached, baseline:cached") {
			t.Errorf("phases of the run that may ask: %s", got)
		}
	})
}
