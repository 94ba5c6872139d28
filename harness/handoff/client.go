package handoff

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"

	"github.com/patchlab/patchlab/harness/guest"
)

// Conn reaches the guest through the harness.
type Conn struct {
	socket string

	mu     sync.Mutex
	closed bool
	open   map[*net.UnixConn]bool // requests under way
}

var _ guest.Conn = (*Conn)(nil)

// Dial returns a connection to the guest that the harness serves on a socket ([Handoff.Socket]). Nothing is sent yet.
func Dial(socket string) *Conn {
	return &Conn{socket: socket, open: map[*net.UnixConn]bool{}}
}

// Run executes a shell command line in the guest.
func (c *Conn) Run(ctx context.Context, command guest.Command) (guest.Result, error) {
	var stdout, stderr bytes.Buffer
	call := exchange{input: command.Stdin, errors: &stderr}
	if call.output = command.Stdout; call.output == nil {
		call.output = &stdout
	}
	answer, err := c.exchange(ctx, request{
		Op: opRun, Line: command.Line, User: command.User, Input: command.Stdin != nil, Stream: command.Stdout != nil,
	}, call)
	if err != nil {
		return guest.Result{}, fmt.Errorf("running %q: %w", command.Line, err)
	}
	return guest.Result{
		ExitCode: answer.ExitCode, Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Truncated: answer.Truncated,
	}, nil
}

// Put writes a file in the guest.
func (c *Conn) Put(ctx context.Context, path string, mode fs.FileMode, content io.Reader) error {
	_, err := c.exchange(ctx, request{Op: opPut, Path: path, Mode: mode}, exchange{input: content})
	return err
}

// Get reads a file of the guest.
func (c *Conn) Get(ctx context.Context, path string, to io.Writer) error {
	_, err := c.exchange(ctx, request{Op: opGet, Path: path}, exchange{output: to})
	return err
}

// Dial connects to an address as seen from inside the guest.
func (c *Conn) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	socket, release, err := c.send(ctx, request{Op: opDial, Network: network, Address: address})
	if err != nil {
		return nil, err
	}
	from := bufio.NewReader(socket)
	answer, err := receive(socket, from, exchange{})
	if err == nil {
		err = answer.err()
	} else {
		err = fmt.Errorf("%w: %w", guest.ErrLost, err)
	}
	if !release() { // ctx has ended and closed the socket
		err = fmt.Errorf("connecting to %s in the guest: %w", address, ended(ctx, errClosed))
	}
	if err != nil {
		return nil, errors.Join(err, ignoreClosed(socket.Close()))
	}
	return &tunnel{UnixConn: socket, from: from}, nil
}

// Close ends every request of this Conn; connections made by Dial live on. The guest's own connection stays with the
// harness.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for socket := range c.open {
		_ = socket.Close() // ends the request
	}
	clear(c.open)
	return nil
}

// exchange makes one request with its input and output.
func (c *Conn) exchange(ctx context.Context, req request, call exchange) (answer reply, err error) {
	socket, release, err := c.send(ctx, req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = socket.Close() }() // all that counts has been read
	answer, err = receive(socket, bufio.NewReader(socket), call)
	if !release() {
		return reply{}, ended(ctx, errClosed)
	}
	var own *localError
	switch {
	case errors.As(err, &own):
		return reply{}, own.err
	case err != nil:
		return reply{}, fmt.Errorf("%w: the harness does not answer any more: %w", guest.ErrLost, err)
	default:
		return answer, answer.err()
	}
}

// send opens a socket for one request and writes it. The socket is closed when ctx or the Conn ends, until release is
// called, which tells whether that was in time.
func (c *Conn) send(ctx context.Context, req request) (socket *net.UnixConn, release func() bool, err error) {
	header, err := json.Marshal(req)
	if err != nil {
		return nil, nil, fmt.Errorf("writing a request: %w", err)
	}
	if len(header) >= maxHeader {
		return nil, nil, fmt.Errorf("a command line of %d bytes is too long", len(req.Line))
	}
	socket, err = connect(ctx, c.socket)
	if err != nil {
		return nil, nil, ended(ctx, fmt.Errorf("%w: reaching the harness: %w", guest.ErrLost, err))
	}
	if !c.begin(socket) {
		return nil, nil, errors.Join(ended(ctx, errClosed), socket.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	release = func() bool {
		inTime := stop()
		return c.end(socket) && inTime
	}
	if _, err := socket.Write(append(header, '\n')); err != nil {
		release()
		err = ended(ctx, fmt.Errorf("%w: reaching the harness: %w", guest.ErrLost, err))
		return nil, nil, errors.Join(err, ignoreClosed(socket.Close()))
	}
	return socket, release, nil
}

// begin notes a request under way; false after Close.
func (c *Conn) begin(socket *net.UnixConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.open[socket] = true
	return true
}

// end forgets a request; false if Close came first.
func (c *Conn) end(socket *net.UnixConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.open[socket]
	delete(c.open, socket)
	return was
}

var errClosed = fmt.Errorf("%w: closed", guest.ErrLost)

// ended prefers the end of the caller's context to what followed from it.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// tunnel is a connection to an address in the guest.
type tunnel struct {
	*net.UnixConn
	from *bufio.Reader // may have read beyond the reply
}

func (t *tunnel) Read(p []byte) (int, error) { return t.from.Read(p) }

// WriteTo is hidden from io.Copy: the embedded one would pass over what has been read ahead.
func (t *tunnel) WriteTo(w io.Writer) (int64, error) { return t.from.WriteTo(w) }
