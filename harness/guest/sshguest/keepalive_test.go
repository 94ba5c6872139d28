package sshguest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
)

// throughMemory is a dialer to a server of this process without a network, so that its time is the test's.
func throughMemory(t *testing.T, options guesttest.ServerOptions) *Dialer {
	t.Helper()
	server := guesttest.NewServer(t, options)
	d := New(Config{Address: "memory", HostKey: server.HostKey, Signer: server.Key, KeepaliveInterval: 10 * time.Second, KeepaliveBound: time.Minute})
	d.dial = func(context.Context, string, string) (net.Conn, error) {
		here, there := memoryPipe()
		go server.Serve(there)
		return here, nil
	}
	return d
}

func TestAHungGuestIsNoticed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, err := throughMemory(t, guesttest.ServerOptions{Deaf: true, WithoutListener: true}).Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		start := time.Now()
		_, err = conn.Run(t.Context(), guest.Command{Line: "true"})
		if elapsed := time.Since(start); !errors.Is(err, guest.ErrLost) || elapsed > 70*time.Second {
			t.Errorf("Run: %v after %v, want guest.ErrLost within the bound", err, elapsed)
		}
	})
}

func TestASilentGuestThatLivesIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, err := throughMemory(t, guesttest.ServerOptions{WithoutListener: true}).Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		<-ctx.Done()
		var refused error
		if _, refused = conn.Dial(t.Context(), "nonsense", ""); errors.Is(refused, guest.ErrLost) {
			t.Errorf("after ten silent minutes: %v", refused)
		}
		if cause := conn.(*Conn).endCause(); cause != nil {
			t.Errorf("the connection was given up: %v", cause)
		}
	})
}

// memoryConn is one end of a connection in memory. Unlike net.Pipe it buffers, since both sides of SSH begin by speaking.
type memoryConn struct {
	net.Conn // nil: only what is defined here is called

	in, out *buffer
}

type buffer struct {
	mu    sync.Mutex
	ready *sync.Cond
	data  []byte
	end   bool
}

func memoryPipe() (a, b *memoryConn) {
	there, back := &buffer{}, &buffer{}
	there.ready, back.ready = sync.NewCond(&there.mu), sync.NewCond(&back.mu)
	return &memoryConn{in: back, out: there}, &memoryConn{in: there, out: back}
}

func (c *memoryConn) Read(p []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for len(c.in.data) == 0 && !c.in.end {
		c.in.ready.Wait()
	}
	n := copy(p, c.in.data)
	c.in.data = c.in.data[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (c *memoryConn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.end {
		return 0, net.ErrClosed
	}
	c.out.data = append(c.out.data, p...)
	c.out.ready.Broadcast()
	return len(p), nil
}

func (c *memoryConn) Close() error {
	for _, b := range []*buffer{c.in, c.out} {
		b.mu.Lock()
		b.end = true
		b.ready.Broadcast()
		b.mu.Unlock()
	}
	return nil
}

func (c *memoryConn) SetDeadline(time.Time) error     { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error { return nil }
func (c *memoryConn) RemoteAddr() net.Addr            { return &net.TCPAddr{} }
func (c *memoryConn) LocalAddr() net.Addr             { return &net.TCPAddr{} }
