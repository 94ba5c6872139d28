package guesttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"

	"github.com/patchlab/patchlab/harness/guest"
)

var (
	errCut    = errors.New("it was cut")
	errClosed = errors.New("it was closed on this side")
)

// scriptConn is a connection to a [Script].
type scriptConn struct {
	script *Script
	gone   chan struct{} // closed when the connection has ended

	mu     sync.Mutex
	cause  error // why it ended; nil while it stands
	behind []func()
}

var (
	_ guest.Conn     = (*scriptConn)(nil)
	_ guest.Listener = (*scriptConn)(nil)
)

func newScriptConn(s *Script) *scriptConn { return &scriptConn{script: s, gone: make(chan struct{})} }

// end ends the connection and what hangs on it; the first cause counts.
func (c *scriptConn) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = cause
	close(c.gone)
	for _, closeIt := range c.behind {
		closeIt()
	}
}

// hang lets something end with the connection.
func (c *scriptConn) hang(closeIt func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		closeIt()
		return
	}
	c.behind = append(c.behind, closeIt)
}

// fault is the error of an ended context or connection, or nil while both stand.
func (c *scriptConn) fault(ctx context.Context, act string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", act, context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return lost(act, c.cause)
	}
	return nil
}

// Run answers from the script.
func (c *scriptConn) Run(ctx context.Context, command guest.Command) (guest.Result, error) {
	act := fmt.Sprintf("running %q", command.Line)
	if err := c.fault(ctx, act); err != nil {
		return guest.Result{}, err
	}
	answer := c.script.reply(command)
	input := &watched{reader: command.Stdin}
	if command.Stdin != nil {
		command.Stdin = input
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan guest.Result, 1)
	go func() { done <- answer(running, command) }()
	var result guest.Result
	select {
	case result = <-done:
	case <-ctx.Done():
	case <-c.gone:
	}
	if err := c.fault(ctx, act); err != nil { // also when the reply was a reboot that cut its own connection
		return guest.Result{}, err
	}
	if err := input.fault(); err != nil {
		return guest.Result{}, fmt.Errorf("%s: reading its input: %w", act, err)
	}
	return deliver(act, command, result)
}

// deliver puts a result where the command wants it.
func deliver(act string, command guest.Command, result guest.Result) (guest.Result, error) {
	if command.Stdout != nil {
		if _, err := command.Stdout.Write(result.Stdout); err != nil {
			return guest.Result{}, fmt.Errorf("%s: keeping its output: %w", act, err)
		}
		result.Stdout = nil
	}
	for _, stream := range []*[]byte{&result.Stdout, &result.Stderr} {
		if len(*stream) > guest.MaxOutput {
			*stream, result.Truncated = (*stream)[:guest.MaxOutput], true
		}
	}
	return result, nil
}

// watched remembers how reading a command's input failed.
type watched struct {
	reader io.Reader
	mu     sync.Mutex
	err    error
}

// Read reads on.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}
	return n, err
}

func (w *watched) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Put keeps a file in memory.
func (c *scriptConn) Put(ctx context.Context, path string, mode fs.FileMode, content io.Reader) error {
	act := fmt.Sprintf("putting %q", path)
	if err := c.fault(ctx, act); err != nil {
		return err
	}
	type outcome struct {
		content []byte
		err     error
	}
	done := make(chan outcome, 1)
	go func() {
		read, err := io.ReadAll(content)
		done <- outcome{read, err}
	}()
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
	case <-c.gone:
	}
	if err := c.fault(ctx, act); err != nil {
		return err
	}
	if o.err != nil {
		return fmt.Errorf("%s: reading its content: %w", act, o.err)
	}
	c.script.SetFile(path, mode, string(o.content))
	return nil
}

// Get reads a file from memory.
func (c *scriptConn) Get(ctx context.Context, path string, to io.Writer) error {
	act := fmt.Sprintf("getting %q", path)
	if err := c.fault(ctx, act); err != nil {
		return err
	}
	file, ok := c.script.File(path)
	if !ok {
		return fmt.Errorf("%s: %w", act, fs.ErrNotExist)
	}
	if _, err := io.Copy(to, bytes.NewReader(file.Content)); err != nil {
		return fmt.Errorf("%s: keeping its content: %w", act, err)
	}
	return nil
}

// Dial reaches a handler or a listener of the guest.
func (c *scriptConn) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	act := fmt.Sprintf("connecting to %s %s inside the guest", network, address)
	if err := c.fault(ctx, act); err != nil {
		return nil, err
	}
	c.script.mu.Lock()
	handler, listener := c.script.handlers[network+" "+address], c.script.listeners[address]
	c.script.mu.Unlock()
	here, there := newPipe()
	switch {
	case handler != nil:
		go handler(there)
	case listener != nil:
		select {
		case listener.arrived <- there:
		case <-listener.closed:
			return nil, fmt.Errorf("%s: connection refused", act)
		case <-ctx.Done():
			return nil, c.fault(ctx, act)
		}
	default:
		return nil, fmt.Errorf("%s: connection refused", act)
	}
	c.hang(func() { _ = here.Close() })
	return here, nil
}

// Listen opens a port whose connections come from [scriptConn.Dial], on this or another connection.
func (c *scriptConn) Listen(ctx context.Context, address string) (net.Listener, error) {
	act := fmt.Sprintf("listening on %s inside the guest", address)
	if err := c.fault(ctx, act); err != nil {
		return nil, err
	}
	l, err := c.script.listen(act, address)
	if err != nil {
		return nil, err
	}
	c.hang(func() { _ = l.Close() })
	return l, nil
}

func (s *Script) listen(act, address string) (*scriptListener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if host, ok := strings.CutSuffix(address, ":0"); ok {
		s.nextPort++
		address = fmt.Sprintf("%s:%d", host, s.nextPort)
	}
	if s.listeners[address] != nil {
		return nil, fmt.Errorf("%s: the port is taken", act)
	}
	l := &scriptListener{script: s, address: address, arrived: make(chan net.Conn), closed: make(chan struct{})}
	s.listeners[address] = l
	return l, nil
}

// Close gives up the connection.
func (c *scriptConn) Close() error {
	c.end(errClosed)
	c.script.mu.Lock()
	defer c.script.mu.Unlock()
	delete(c.script.lives, c)
	delete(c.script.behind, c)
	return nil
}

// scriptListener is a port inside a [Script].
type scriptListener struct {
	script  *Script
	address string
	arrived chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// Accept waits for the next connection.
func (l *scriptListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.arrived:
		return conn, nil
	case <-l.closed:
		return nil, io.EOF // as x/crypto/ssh has it
	}
}

// Close closes the port.
func (l *scriptListener) Close() error {
	l.once.Do(func() {
		l.script.mu.Lock()
		defer l.script.mu.Unlock()
		delete(l.script.listeners, l.address)
		close(l.closed)
	})
	return nil
}

// Addr is the address inside the guest.
func (l *scriptListener) Addr() net.Addr { return scriptAddr(l.address) }

type scriptAddr string

// Network is always "tcp".
func (a scriptAddr) Network() string { return "tcp" }

// String is the address.
func (a scriptAddr) String() string { return string(a) }
