package sshguest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/commandlog"
	"github.com/patchlab/patchlab/harness/wait"
)

// Run executes a command line with /bin/sh, whatever the login shell is. When ctx ends, the command's process group is sent
// SIGTERM and forgotten, and the connection stays usable.
func (c *Conn) Run(ctx context.Context, command guest.Command) (guest.Result, error) {
	start := time.Now()
	result, err := c.run(ctx, command)
	what := command.Line
	if command.User != "" {
		what = command.User + ": " + what
	}
	c.log.Add(start, fmt.Sprintf("exit %d", result.ExitCode), what, err)
	return result, err
}

func (c *Conn) run(ctx context.Context, command guest.Command) (guest.Result, error) {
	act := fmt.Sprintf("running %q", commandlog.Quote(command.Line, 200))
	select {
	case c.slots <- struct{}{}:
	case <-c.gone:
		return guest.Result{}, lost(act, c.endCause())
	case <-ctx.Done():
		return guest.Result{}, fmt.Errorf("%s: %w", act, context.Cause(ctx))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := newExecution(command, cancel)
	e.sudo = c.sudo
	done := make(chan error, 1)
	go func() {
		defer func() { <-c.slots }()
		done <- e.perform(ctx, c.client)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
	}
	e.shut()
	if ctx.Err() != nil {
		e.abandon(ctx, c.terminate)
		return guest.Result{}, fmt.Errorf("%s: %w", act, context.Cause(ctx))
	}
	code, err := exitCode(err)
	if err != nil {
		return guest.Result{}, c.fault(ctx, act, err)
	}
	return guest.Result{
		ExitCode: code, Stdout: e.stdout.kept.Bytes(), Stderr: e.stderr.kept.Bytes(),
		Truncated: e.stdout.truncated || e.stderr.truncated,
	}, nil
}

func exitCode(err error) (int, error) {
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		return exit.ExitStatus(), nil
	}
	return 0, err
}

// terminate ends an abandoned command. A command of its own does it, because sshd refuses the signal request of SSH in a
// root login, where it has no privilege separation.
func (c *Conn) terminate(ctx context.Context, group int) {
	_, _ = c.run(ctx, guest.Command{Line: fmt.Sprintf("kill -s TERM -- -%d", group)})
}

// shellLine is what sshd hands to the user's login shell. The shell announces its process id, which is the one of the
// process group too, since sshd has made it the leader of a session; sudo may make a child.
func shellLine(command guest.Command, sudo bool) string {
	line := command.Line
	if command.User != "" {
		line = "exec runuser -u " + shellQuote(command.User) + " -- sh -c " + shellQuote(command.Line)
	}
	if sudo {
		line = "exec sudo -n -- /bin/sh -c " + shellQuote(line)
	}
	return "exec /bin/sh -c " + shellQuote("echo "+announcement+"$$; "+line)
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// execution is one command on its session. It may outlive the call of Run that began it, but then touches nothing of its
// caller's any more.
type execution struct {
	command        guest.Command
	sudo           bool
	input          *gate
	output         *gate
	stdout, stderr capped
	announced      announced

	mu        sync.Mutex
	session   *ssh.Session
	abandoned bool
}

// newExecution prepares a command. A caller's reader or writer that fails cancels it: a command that took half of its
// input for the whole would do harm.
func newExecution(command guest.Command, cancel context.CancelCauseFunc) *execution {
	e := &execution{
		command: command,
		input:   &gate{reader: command.Stdin, failed: func(err error) { cancel(fmt.Errorf("reading its input: %w", err)) }},
		output:  &gate{writer: command.Stdout, failed: func(err error) { cancel(fmt.Errorf("keeping its output: %w", err)) }},
	}
	e.announced.known = make(chan struct{})
	e.announced.to = &e.stdout
	if command.Stdout != nil {
		e.announced.to = e.output
	}
	return e
}

func (e *execution) perform(ctx context.Context, client *ssh.Client) error {
	session, err := e.open(ctx, client)
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	session.Stderr = &e.stderr
	session.Stdout = &e.announced
	if e.command.Stdin != nil {
		stdin, err := session.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			if _, err := io.Copy(stdin, e.input); err != nil && e.input.err() != nil {
				return // the command is cancelled, and never sees an end of its input
			}
			_ = stdin.Close()
		}()
	}
	err = session.Run(shellLine(e.command, e.sudo))
	e.announced.flush()
	return err
}

func (e *execution) open(ctx context.Context, client *ssh.Client) (*ssh.Session, error) {
	session, err := newSession(ctx, client)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.abandoned {
		_ = session.Close()
		return nil, errors.New("abandoned before it began")
	}
	e.session = session
	return session, nil
}

// newSession opens a session. An sshd counts a session for some tenths of a second longer than its client, so that a
// refused one is asked for again; more than maxSessions never run because of [Conn.slots].
func newSession(ctx context.Context, client *ssh.Client) (*ssh.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionWait)
	defer cancel()
	var session *ssh.Session
	var refused error
	err := wait.Until(ctx, "a free session", 50*time.Millisecond, func(context.Context) (bool, error) {
		var err error
		session, err = client.NewSession()
		if _, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
			refused = err
			return false, nil
		}
		return true, err
	})
	if err != nil && refused != nil {
		return nil, fmt.Errorf("the guest's sshd allows no further session (MaxSessions): %w", refused)
	}
	return session, err
}

// sessionWait bounds the wait for a session that sshd refuses.
const sessionWait = 15 * time.Second

// shut keeps the execution from touching what belongs to its caller.
func (e *execution) shut() {
	e.input.shut()
	e.output.shut()
}

// abandon terminates the command, if it has begun, and closes its pipes. Nothing waits for it.
func (e *execution) abandon(ctx context.Context, terminate func(ctx context.Context, group int)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.abandoned = true
	session := e.session
	if session == nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWait)
		defer cancel()
		if group := e.announced.group(ctx); group != 0 {
			terminate(ctx, group)
		}
		_ = session.Close()
	}()
}

// abandonWait bounds the end of an abandoned command: the wait for its announcement, when it had hardly begun, and the kill.
const abandonWait = 30 * time.Second
