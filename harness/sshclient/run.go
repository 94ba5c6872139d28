package sshclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest"
)

// Run executes a command line with the login shell of the user. Any exit code is a result; [guest.Command.User] is not
// supported. When ctx ends, the connection is given up, and the command with it.
func (c *Client) Run(ctx context.Context, command guest.Command) (guest.Result, error) {
	act := "running a command on " + c.Settings.String()
	if command.User != "" {
		return guest.Result{}, fmt.Errorf("%s as %s: only the user who logged in can", act, command.User)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	session, err := c.NewSession()
	if err != nil {
		return guest.Result{}, fmt.Errorf("%s: %w", act, withCause(ctx, err))
	}
	defer func() { _ = session.Close() }() // ended already, when all is well
	stdout, stderr := &bounded{left: guest.MaxOutput}, &bounded{left: guest.MaxOutput}
	session.Stdin, session.Stdout, session.Stderr = command.Stdin, stdout, stderr
	if command.Stdout != nil {
		session.Stdout = command.Stdout
	}
	err = session.Run(command.Line)
	result := guest.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Truncated: stdout.left == 0 || stderr.left == 0}
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		result.ExitCode = exit.ExitStatus()
		return result, nil
	}
	if err != nil {
		return guest.Result{}, fmt.Errorf("%s: %w", act, withCause(ctx, err))
	}
	return result, nil
}

func withCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// bounded keeps what fits and drops the rest.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	part := p[:min(len(p), b.left)]
	b.left -= len(part)
	_, _ = b.Buffer.Write(part) // a buffer never fails
	return len(p), nil
}
