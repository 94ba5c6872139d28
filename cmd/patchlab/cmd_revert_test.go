package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/undo"
)

// keptRun is a run directory whose guest runs under a fake hypervisor, and has the given checkpoints.
func keptRun(t *testing.T, names ...string) (dir string, lab harness.Lab) {
	t.Helper()
	run, err := rundir.Create(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	backing := run.File("image")
	if err := errors.Join(os.WriteFile(backing, nil, 0o600), run.WriteKept(rundir.KeptGuest{}), run.Close()); err != nil {
		t.Fatal(err)
	}
	driver := fake.New()
	domain, err := driver.Define(t.Context(), hypervisor.DomainSpec{
		Name: "patchlab-" + run.ID + "-run", Disk: hypervisor.Disk{Path: run.File(rundir.Overlay), Backing: backing},
		Console: run.File(rundir.Console), Checkpoints: run.File(rundir.Checkpoints),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := domain.(hypervisor.Checkpointer).Checkpoint(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	return run.Path, harness.Lab{Now: time.Now, Host: func(context.Context) (harness.Host, error) {
		return harness.Host{Driver: driver, Undo: func(context.Context) (undo.Report, error) {
			return undo.Report{Reason: "its disk was not undone"}, nil
		}}, nil
	}}
}

func TestRevertListsCheckpoints(t *testing.T) {
	t.Parallel()
	dir, lab := keptRun(t, "before-openssl", "before-nginx")
	s := newSession(t)
	if err := s.env.revertOn(t.Context(), lab, dir, nil); err != nil {
		t.Fatal(err)
	}
	out := s.stdout.String()
	first, second := strings.Index(out, "before-openssl"), strings.Index(out, "before-nginx")
	if first < 0 || second < first {
		t.Error(out)
	}
	none, lab := keptRun(t)
	s = newSession(t)
	if err := s.env.revertOn(t.Context(), lab, none, nil); err != nil || !strings.Contains(s.stdout.String(), "has no checkpoints") {
		t.Errorf("%v: %s", err, s.stdout.String())
	}
}

func TestRevertSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir, lab := keptRun(t, "before-openssl")
	bare, bareLab := keptRun(t)
	locked, lockedLab := keptRun(t, "before-openssl")
	held, err := rundir.Lock(locked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.Close() }) // the test has ended
	gone, goneLab := keptRun(t)
	goneLab.Host = func(context.Context) (harness.Host, error) { return harness.Host{Driver: fake.New()}, nil }
	for _, test := range []struct {
		name, dir, checkpoint string
		lab                   harness.Lab
		code                  int
		want                  string
	}{
		{"an unknown checkpoint", dir, "before-nginx", lab, 2, `has no checkpoint "before-nginx": name one of before-openssl`},
		{"a run without checkpoints", bare, "before-openssl", bareLab, 2, "it has none; its phases say why"},
		{"a host without proof", dir, "before-openssl", lab, 20, "its disk was not undone; see the line checkpoints of `patchlab doctor`"},
		{"a run that lives", locked, "before-openssl", lockedLab, 2, "is still running, or somebody else reverts"},
		{"a guest that is gone", gone, "before-openssl", goneLab, 2, "the run has no guest any more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			err := s.env.revertOn(t.Context(), test.lab, test.dir, []string{test.checkpoint})
			var exit *exitError
			if !errors.As(err, &exit) || exit.code != test.code || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it says %v, want exit code %d and %q", err, test.code, test.want)
			}
		})
	}
}

func TestRevertNeedsAKeptRun(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, rundir.Scenario), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := s.run("revert", dir); code != 2 || !strings.Contains(s.stderr.String(), "has kept no guest") {
		t.Errorf("exit code %d: %s", code, s.stderr.String())
	}
}

func TestCheckpointsAreCompletedWithoutAskingAnybody(t *testing.T) {
	t.Parallel()
	dir, _ := keptRun(t)
	result := report.Result{Schema: report.ResultSchema, Phases: []report.Phase{
		{Name: harness.PhaseCheckpoint, Increment: "openssl", Status: "done"},
		{Name: harness.PhaseCheckpoint, Increment: "nginx", Status: "failed"},
	}}
	content, err := report.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{rundir.Result: content, rundir.Scenario: nil} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newSession(t)
	if code := s.run("__complete", "revert", dir, ""); code != 0 {
		t.Fatalf("exit code %d: %s", code, s.stderr.String())
	}
	if out := s.stdout.String(); !strings.HasPrefix(out, "before-openssl\tas it was before openssl was applied\n:") {
		t.Error(out)
	}
}
