package sshguest

import (
	"bytes"
	"context"
	"io"
	"strconv"

	"github.com/patchlab/patchlab/harness/guest"
)

// capped keeps the first [guest.MaxOutput] bytes and swallows the rest.
type capped struct {
	kept      bytes.Buffer // not embedded: its ReadFrom would go round the bound
	truncated bool
}

// Write takes everything, so that the command never waits for a reader.
func (c *capped) Write(p []byte) (int, error) {
	keep := p[:min(len(p), guest.MaxOutput-c.kept.Len())]
	c.truncated = c.truncated || len(keep) < len(p)
	_, _ = c.kept.Write(keep)
	return len(p), nil
}

// announcement begins the line in which a shell tells its process id.
const announcement = "patchlab-command "

// headMost bounds what a login shell may say before the announcement ("Welcome!" in somebody's .bashrc).
const headMost = 64 << 10

// announced takes the announcement out of a command's output, and what a login shell said before.
type announced struct {
	to    io.Writer
	head  []byte // what came before the announcement
	heard bool
	pid   int
	known chan struct{} // closed when pid is final; 0 is none
}

// Write takes everything; errors of the writer behind are noted by its gate.
func (a *announced) Write(p []byte) (int, error) {
	if a.heard {
		_, _ = a.to.Write(p)
		return len(p), nil
	}
	a.head = append(a.head, p...)
	_, after, found := bytes.Cut(a.head, []byte(announcement))
	number, rest, complete := bytes.Cut(after, []byte("\n"))
	switch {
	case found && complete:
		a.pid, _ = strconv.Atoi(string(number))
		a.pass(rest)
	case len(a.head) > headMost:
		a.pass(a.head)
	}
	return len(p), nil
}

func (a *announced) pass(rest []byte) {
	a.heard, a.head = true, nil
	close(a.known)
	if len(rest) > 0 {
		_, _ = a.to.Write(rest)
	}
}

// flush hands out what came when there was no announcement: the shell could not be started.
func (a *announced) flush() {
	if !a.heard {
		a.pass(a.head)
	}
}

// group is the command's process group, or 0 when it is not told before ctx ends. It cannot be 1: kill would take -1 for
// every process.
func (a *announced) group(ctx context.Context) int {
	select {
	case <-a.known:
		if a.pid > 1 {
			return a.pid
		}
	case <-ctx.Done():
	}
	return 0
}
