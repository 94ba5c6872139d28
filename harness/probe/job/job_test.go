package job_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/probe/job"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// newJob makes a job's directory with a shell script in it.
func newJob(t *testing.T, script string) (j *job.Job, dir string) {
	t.Helper()
	below := t.TempDir()
	j, err := job.New(below, "upgrade")
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(below, "upgrade")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, protocol.JobProgram), "#!/bin/sh\n"+script, 0o700)
	return j, dir
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func TestAJobIsStartedOnceAndItsOutputAndExitCodeKept(t *testing.T) {
	for _, c := range []struct {
		name, script, log string
		exit              int
	}{
		{"well", "echo out; echo err >&2", "out\nerr\n", 0},
		{"badly", "echo no; exit 7", "no\n", 7},
		{"by a signal", "kill -9 $$", "", 137},
		{"reading nothing", "cat; echo done", "done\n", 0},
	} {
		t.Run("ends "+c.name, func(t *testing.T) {
			j, _ := newJob(t, c.script)
			starts := 0
			start := func() error { starts++; return j.Supervise(t.Context()) }
			for offset := range len(c.log) + 1 {
				if err := j.Ensure(start); err != nil {
					t.Fatal(err)
				}
				var log bytes.Buffer
				exit, err := j.Follow(t.Context(), int64(offset), &log)
				if err != nil || exit != c.exit || log.String() != c.log[offset:] {
					t.Errorf("Follow(offset %d) = %d, %v, log %q; want %d and %q",
						offset, exit, err, log.String(), c.exit, c.log[offset:])
				}
			}
			if starts != 1 {
				t.Errorf("started %d times", starts)
			}
		})
	}
}

func TestAJobIsFollowedWhileItRuns(t *testing.T) {
	j, dir := newJob(t, "")
	if err := unix.Mkfifo(filepath.Join(dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, protocol.JobProgram), "#!/bin/sh\ncd "+dir+"; echo one; read line <go; echo two $line\n", 0o700)
	supervised := make(chan error, 1)
	if err := j.Ensure(func() error {
		go func() { supervised <- j.Supervise(t.Context()) }()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	released := false
	log := writerFunc(func(p []byte) {
		if bytes.Contains(p, []byte("one")) && !released {
			released = true
			write(t, filepath.Join(dir, "go"), "now\n", 0)
		}
	})
	exit, err := j.Follow(t.Context(), 0, log)
	if err != nil || exit != 0 || !released {
		t.Fatalf("Follow() = %d, %v; released %v", exit, err, released)
	}
	if err := <-supervised; err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestAJobWhoseSupervisorWasKilledHasDied(t *testing.T) {
	j, dir := newJob(t, "")
	write(t, filepath.Join(dir, protocol.JobStarted), "", 0o600)
	write(t, filepath.Join(dir, protocol.JobLock), "", 0o600) // and nobody holds it
	write(t, filepath.Join(dir, protocol.JobLog), "half", 0o600)
	var log bytes.Buffer
	if _, err := j.Follow(t.Context(), 0, &log); !errors.Is(err, job.ErrDied) || log.String() != "half" {
		t.Errorf("Follow() = %v, log %q; want ErrDied and what there was", err, log.String())
	}
}

func TestAJobThatNeverCameToLifeHasDiedAfterAWhile(t *testing.T) {
	j, dir := newJob(t, "")
	write(t, filepath.Join(dir, protocol.JobStarted), "", 0o600)
	synctest.Test(t, func(t *testing.T) {
		if _, err := j.Follow(t.Context(), 0, &bytes.Buffer{}); !errors.Is(err, job.ErrDied) {
			t.Errorf("Follow() = %v, want ErrDied", err)
		}
	})
}

func TestAJobThatCouldNotBeStartedMayBeStartedAgain(t *testing.T) {
	j, _ := newJob(t, "exit 3")
	cause := errors.New("no systemd")
	if err := j.Ensure(func() error { return cause }); !errors.Is(err, cause) {
		t.Fatalf("Ensure() = %v, want %v", err, cause)
	}
	if err := j.Ensure(func() error { return j.Supervise(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	if exit, err := j.Follow(t.Context(), 0, &bytes.Buffer{}); err != nil || exit != 3 {
		t.Errorf("Follow() = %d, %v; want 3", exit, err)
	}
}

func TestAJobWithoutAProgramIsNotStarted(t *testing.T) {
	j, dir := newJob(t, "")
	if err := os.Chmod(filepath.Join(dir, protocol.JobProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := j.Ensure(func() error { t.Error("started"); return nil }); err == nil {
		t.Error("no error")
	}
}

func TestFollowingEndsWithItsContext(t *testing.T) {
	j, _ := newJob(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Follow(ctx, 0, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Follow() = %v, want canceled", err)
	}
}

func TestNamesOfJobsStayInTheirDirectory(t *testing.T) {
	for name, ok := range map[string]bool{
		"openssl": true, "a-1.2": true, "UPPER": true, "": false, ".": false, "..": false, "../x": false, "a/b": false, "a b": false,
		"a;b": false, "-x": false, "a\n": false, "ä": false,
	} {
		if err := job.CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
}
