package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// Supervise runs the job's program and leaves its exit code. It is what the transient unit executes.
func (j *Job) Supervise(ctx context.Context) (err error) {
	lock, err := j.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	log, err := os.OpenFile(j.path(protocol.JobLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of job %s: %w", j.Name, err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	program := exec.CommandContext(ctx, j.path(protocol.JobProgram))
	program.Dir = "/"
	program.Env = append(os.Environ(),
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8")
	// Straight into the file, without a pipe: a daemon that keeps the log open does not keep the job alive.
	program.Stdout, program.Stderr = log, log
	return j.finish(exitCode(program.Run(), log))
}

// lock takes the supervisor's lock. A shared one is held for an instant by those who look whether it is alive; hence it blocks.
func (j *Job) lock() (*os.File, error) {
	// Locked under a name that nobody knows, then shown: whoever finds the file finds it locked.
	hidden := j.path("." + protocol.JobLock)
	lock, err := os.OpenFile(hidden, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking job %s: %w", j.Name, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("locking job %s: %w", j.Name, err), lock.Close())
	}
	if err := os.Rename(hidden, j.path(protocol.JobLock)); err != nil {
		return nil, errors.Join(fmt.Errorf("locking job %s: %w", j.Name, err), lock.Close())
	}
	return lock, nil
}

// exitCode turns how a program ended into a shell's exit code: 128 and the signal, 126 for one that cannot be executed.
func exitCode(err error, log *os.File) int {
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		_, _ = fmt.Fprintln(log, err) // the log is all there is to tell it to
		return 126
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// finish writes the exit code, whole or not at all.
func (j *Job) finish(code int) error {
	temporary := j.path("." + protocol.JobExit)
	if err := os.WriteFile(temporary, []byte(strconv.Itoa(code)+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the exit code of job %s: %w", j.Name, err)
	}
	if err := os.Rename(temporary, j.path(protocol.JobExit)); err != nil {
		return fmt.Errorf("writing the exit code of job %s: %w", j.Name, err)
	}
	return nil
}

// Detach starts a command in a session of its own, for a guest without systemd.
func Detach(ctx context.Context, argv []string) error {
	command := exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...)
	command.Dir = filepath.Dir(argv[0])
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("detaching %s: %w", argv[0], err)
	}
	if err := command.Process.Release(); err != nil {
		return fmt.Errorf("detaching %s: %w", argv[0], err)
	}
	return nil
}
