package sshguest

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"
)

// Session is a command that a person works with, over their own terminal or through pipes.
type Session struct {
	Line     string // for the user's login shell; "" is that shell itself
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer // with a terminal everything goes to Stdout
	Terminal *Terminal // nil for none
}

// Terminal is what the guest has to know of the terminal that a person sits at.
type Terminal struct {
	Name    string // of its kind, as in TERM
	Size    Size
	Resized <-chan Size // may be nil
}

// Size is that of a terminal, in characters.
type Size struct{ Columns, Rows int }

// Attach runs a session until it ends, and returns its exit code; 128 and more for a signal. The error wraps guest.ErrLost
// when the connection ended first. When ctx ends, the guest sees a hang-up. Unlike those of [Conn.Run], the session's output
// is neither bounded nor cleaned: it goes to whoever asked for it.
func (c *Conn) Attach(ctx context.Context, s Session) (int, error) {
	const act = "attaching to the guest"
	session, err := newSession(ctx, c.client)
	if err != nil {
		return 0, c.fault(ctx, act, err)
	}
	defer func() { _ = session.Close() }()
	if t := s.Terminal; t != nil {
		if err := session.RequestPty(t.Name, t.Size.Rows, t.Size.Columns, ssh.TerminalModes{}); err != nil {
			return 0, c.fault(ctx, act, fmt.Errorf("asking for a terminal: %w", err))
		}
	}
	// Not session.Stdin: Wait would wait for a key to be pressed after the session's end.
	stdin, err := session.StdinPipe()
	if err != nil {
		return 0, c.fault(ctx, act, err)
	}
	session.Stdout, session.Stderr = s.Stdout, s.Stderr
	start := session.Shell
	if s.Line != "" {
		start = func() error { return session.Start(s.Line) }
	}
	if err := start(); err != nil {
		return 0, c.fault(ctx, act, err)
	}
	go func() {
		_, _ = io.Copy(stdin, s.Stdin) // ends with its input, or with the session
		_ = stdin.Close()
	}()
	ended := make(chan error, 1)
	go func() { ended <- session.Wait() }()
	for {
		select {
		case size, open := <-resized(s.Terminal):
			if open {
				_ = session.WindowChange(size.Rows, size.Columns) // a size that is not told is no reason to end
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("%s: %w", act, context.Cause(ctx))
		case err := <-ended:
			code, err := exitCode(err)
			if err != nil {
				return 0, c.fault(ctx, act, err)
			}
			return code, nil
		}
	}
}

func resized(t *Terminal) <-chan Size {
	if t == nil {
		return nil
	}
	return t.Resized
}
