// Package job runs a long command in the guest so that it outlives the connection that asked for it, and is started once
// however often it is asked for. It runs inside the guest, as part of the probe.
//
// A job is a directory with an executable in it; see the file names in package protocol. Its supervisor holds a lock as long
// as it lives, so that a job that was killed is told from one that takes its time.
package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/wait"
)

// ErrDied is returned when a job is over and has left no exit code: something killed its supervisor.
var ErrDied = errors.New("the job died without an exit code")

const (
	pollInterval = 200 * time.Millisecond
	// startGrace is how long a job may take from its marker to its lock, an exec and a few system calls: under emulation on
	// a busy host that is a second or two.
	startGrace = time.Minute
)

// Job is one directory.
type Job struct {
	Name string
	dir  string
}

// New names a job below a directory.
func New(below, name string) (*Job, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return &Job{Name: name, dir: filepath.Join(below, name)}, nil
}

// CheckName returns an error unless a name can be a directory's and a unit's.
func CheckName(name string) error {
	if !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}$`).MatchString(name) {
		return fmt.Errorf("job name %q: want letters, digits, dots and dashes, at most 63", name)
	}
	return nil
}

// Unit is the transient unit that a job runs in.
func (j *Job) Unit() string { return "patchlab-job-" + j.Name + ".service" }

func (j *Job) path(file string) string { return filepath.Join(j.dir, file) }

// Ensure starts the job unless it was started before, by whomever.
func (j *Job) Ensure(start func() error) error {
	if info, err := os.Stat(j.path(protocol.JobProgram)); err != nil || info.Mode()&0o111 == 0 {
		return fmt.Errorf("starting job %s: no executable %s", j.Name, j.path(protocol.JobProgram))
	}
	marker, err := os.OpenFile(j.path(protocol.JobStarted), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("starting job %s: %w", j.Name, err)
	}
	_ = marker.Close() // empty: there is nothing that could be lost
	if err := start(); err != nil {
		// Nothing runs: asked again, it may start.
		return errors.Join(fmt.Errorf("starting job %s: %w", j.Name, err), os.Remove(j.path(protocol.JobStarted)))
	}
	return nil
}

// Follow copies the job's output from an offset on until the job ends, and returns its exit code.
func (j *Job) Follow(ctx context.Context, offset int64, to io.Writer) (int, error) {
	began := time.Now()
	code := 0
	err := wait.Until(ctx, "job "+j.Name, pollInterval, func(context.Context) (bool, error) {
		// In this order: a job that came to life between two looks has not died, and what was written before the exit code
		// was there is in the log for certain.
		lived := j.everAlive()
		alive := lived && j.alive()
		exit, ended, err := j.exitCode()
		if err != nil {
			return false, err
		}
		copied, err := j.copyLog(offset, to)
		offset += copied
		switch {
		case err != nil:
			return false, err
		case ended:
			code = exit
			return true, nil
		case !alive && (lived || time.Since(began) > startGrace):
			return false, fmt.Errorf("following job %s: %w", j.Name, ErrDied)
		}
		return false, nil
	})
	return code, err
}

// exitCode returns the code that the supervisor left, if it did yet.
func (j *Job) exitCode() (code int, ended bool, err error) {
	content, err := os.ReadFile(j.path(protocol.JobExit))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading the exit code of job %s: %w", j.Name, err)
	}
	code, err = strconv.Atoi(string(bytes.TrimSpace(content)))
	if err != nil {
		return 0, false, fmt.Errorf("reading the exit code of job %s: %w", j.Name, err)
	}
	return code, true, nil
}

func (j *Job) copyLog(offset int64, to io.Writer) (int64, error) {
	log, err := os.Open(j.path(protocol.JobLog))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the log of job %s: %w", j.Name, err)
	}
	defer func() { _ = log.Close() }() // only read
	if _, err := log.Seek(offset, io.SeekStart); err != nil {
		return 0, fmt.Errorf("reading the log of job %s: %w", j.Name, err)
	}
	copied, err := io.Copy(to, log)
	if err != nil {
		return copied, fmt.Errorf("passing on the log of job %s: %w", j.Name, err)
	}
	return copied, nil
}

// everAlive says whether the supervisor got as far as its lock.
func (j *Job) everAlive() bool {
	_, err := os.Stat(j.path(protocol.JobLock))
	return err == nil
}

// alive says whether the supervisor holds its lock.
func (j *Job) alive() bool {
	lock, err := os.Open(j.path(protocol.JobLock))
	if err != nil {
		return false
	}
	defer func() { _ = lock.Close() }() // and with it the lock, if we got it
	return unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}
