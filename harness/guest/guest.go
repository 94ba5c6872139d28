// Package guest is the contract for acting inside a guest: run a command, put and get a file, reach one of its ports.
//
// A command that exits non-zero is a result, not an error: what a guest answers may become a finding, while an
// error of this package's implementations means that the answer did not arrive, which alone is never blamed on a patch.
package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
)

// ErrLost is wrapped by every error that means that the connection is gone: the guest may be fine, but this Conn is not.
var ErrLost = errors.New("connection to the guest lost")

// MaxOutput bounds what is kept of each output stream of a command, in bytes. More is cut off and
// [Result.Truncated] is set: no guest may fill the host's memory.
const MaxOutput = 64 << 20

// Conn acts inside one guest as its administrator. Methods may be called from several goroutines.
type Conn interface {
	// Run executes a shell command line and waits for it. Any exit status is a result.
	Run(ctx context.Context, command Command) (Result, error)
	// Put writes a file atomically: either the whole new file is at path, or what was there before.
	// Missing directories are made.
	Put(ctx context.Context, path string, mode fs.FileMode, content io.Reader) error
	// Get reads a file. It returns an error that wraps fs.ErrNotExist if there is none.
	Get(ctx context.Context, path string, to io.Writer) error
	// Dial connects to a stream address as seen from inside the guest ("tcp", "127.0.0.1:80"; "unix", PATH).
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	// Close gives up the connection. Commands started by Run end or are orphaned as the guest likes.
	Close() error
}

// Listener is a Conn that can open a port inside the guest whose connections arrive at the host.
type Listener interface {
	// Listen opens a TCP port on an address inside the guest; port 0 lets the guest choose.
	Listen(ctx context.Context, address string) (net.Listener, error)
}

// Dialer opens connections to one guest, as often as needed: a reboot ends each of them.
type Dialer interface {
	// Dial makes one attempt. It returns an error that wraps [ErrLost] while the guest does not answer.
	Dial(ctx context.Context) (Conn, error)
}

// Command is a command line for the guest's shell.
type Command struct {
	Line  string    // for /bin/sh
	User  string    // "" is the administrator
	Stdin io.Reader // may be nil
	// Stdout, when set, receives the standard output as it comes, and Result.Stdout stays empty.
	Stdout io.Writer
}

// Result is how a command ended.
type Result struct {
	ExitCode  int // 128 + the signal's number for a command that a signal ended
	Stdout    []byte
	Stderr    []byte
	Truncated bool // output beyond [MaxOutput] was dropped
}

// Err returns nil for exit code 0, else an [*ExitError] about the command.
func (r Result) Err(command Command) error {
	if r.ExitCode == 0 {
		return nil
	}
	return &ExitError{Command: command.Line, Result: r}
}

// ExitError is a command that exited non-zero where it had to succeed.
type ExitError struct {
	Command string
	Result  Result
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%q exited with %d: %s", e.Command, e.Result.ExitCode, lastLine(e.Result.Stderr, e.Result.Stdout))
}

func lastLine(streams ...[]byte) string {
	const most = 200 // bytes of a message that one can still read in a line
	for _, s := range streams {
		end := len(s)
		for end > 0 && (s[end-1] == '\n' || s[end-1] == '\r') {
			end--
		}
		start := end
		for start > 0 && s[start-1] != '\n' {
			start--
		}
		if line := s[max(start, end-most):end]; len(line) > 0 {
			return fmt.Sprintf("%q", line)
		}
	}
	return "no output"
}
