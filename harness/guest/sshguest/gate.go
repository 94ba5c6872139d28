package sshguest

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// gate stands between a transfer and the caller's reader or writer: the caller's own errors are kept apart from the
// connection's, and a transfer that outlives its call touches nothing of the caller's any more.
type gate struct {
	reader io.Reader
	writer io.Writer
	failed func(error) // told of the first error; may be nil

	mu     sync.Mutex
	closed bool
	fault  error
}

var errShut = errors.New("the transfer was given up")

// Read reads from the caller's reader. The lock is not held meanwhile: a reader may block for ever (a pipe that nobody
// closes), and a call that is given up must return all the same. At most this one read goes on behind its back.
func (g *gate) Read(p []byte) (int, error) {
	if err := g.err(); err != nil {
		return 0, err
	}
	n, err := g.reader.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail(err)
	return n, fmt.Errorf("reading what is sent: %w", err)
}

// Write writes to the caller's writer. [gate.shut] waits for it, because a caller looks at what was written.
func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return 0, errShut
	}
	n, err := g.writer.Write(p)
	if err != nil {
		g.fail(err)
		return n, fmt.Errorf("writing what is received: %w", err)
	}
	return n, nil
}

// fail notes the first error; the lock is held.
func (g *gate) fail(err error) {
	if g.closed {
		return
	}
	g.fault = err
	g.closed = true
	if g.failed != nil {
		g.failed(err)
	}
}

// err is why nothing passes any more, or nil.
func (g *gate) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fault == nil && g.closed {
		return errShut
	}
	return g.fault
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}
