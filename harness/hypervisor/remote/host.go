// Package remote is a machine that is reached over ssh: its sockets and ports, its files, and short scripts that run there.
//
// It is reached as the user's own ssh reaches it, see package sshclient.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"

	"github.com/patchlab/patchlab/harness/sshclient"
)

// Host is one machine. A connection that breaks is made anew when it is next needed. Its methods may be called from several
// goroutines.
type Host struct {
	target sshclient.Target
	config sshclient.Config
	slots  chan struct{} // one element for each running script

	mu     sync.Mutex
	client *sshclient.Client // nil while there is no connection
	files  *sftp.Client      // nil until first needed
	closed bool
}

// Open connects to a machine.
func Open(ctx context.Context, config sshclient.Config, target sshclient.Target) (*Host, error) {
	h := &Host{target: target, config: config, slots: make(chan struct{}, maxScripts)}
	_, err := h.connected(ctx)
	return h, err
}

// Name is what the user calls the machine.
func (h *Host) Name() string { return h.target.Host }

var errClosed = errors.New("the connection was closed on this side")

// connect returns a connection that stood a moment ago. It is called with the lock held.
func (h *Host) connect(ctx context.Context) (*sshclient.Client, error) {
	if h.closed {
		return nil, errClosed
	}
	if h.client != nil {
		return h.client, nil
	}
	client, err := h.config.Dial(ctx, h.target)
	if err != nil {
		return nil, err
	}
	h.client = client
	gone := make(chan struct{})
	go func() {
		_ = client.Wait() // why it ended is told to those who were using it
		close(gone)
		h.forget(client)
	}()
	go keepalive(client, gone)
	return client, nil
}

// forget gives up a connection that has ended.
func (h *Host) forget(client *sshclient.Client) {
	_ = client.Close() // nobody waits for anything
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client == client {
		h.client, h.files = nil, nil
	}
}

// The machine is asked for a sign of life this often, and given up when it does not answer until the next time.
const keepaliveInterval = 20 * time.Second

func keepalive(client *sshclient.Client, gone <-chan struct{}) {
	tick := time.NewTicker(keepaliveInterval)
	defer tick.Stop()
	answered := make(chan struct{}, 1)
	for {
		go func() {
			_, _, _ = client.SendRequest("keepalive@openssh.com", true, nil) // any answer will do
			answered <- struct{}{}
		}()
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		select {
		case <-answered:
		default:
			_ = client.Close() // it is dead
			return
		}
	}
}

func (h *Host) connected(ctx context.Context) (*sshclient.Client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.connect(ctx)
}

// Dial connects to a port or a unix socket ("unix") of that machine.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	client, err := h.connected(ctx)
	if err != nil {
		return nil, err
	}
	far, err := client.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s on %s: %w", address, h.Name(), withCause(ctx, err))
	}
	// A channel knows no deadlines, and closing it does not end a read while the other side is silent. A pipe does.
	near, inner := net.Pipe()
	go Join(far, inner)
	return near, nil
}

// Join joins two connections until one of them ends.
func Join(a, b io.ReadWriteCloser) {
	var group sync.WaitGroup
	for _, way := range [][2]io.ReadWriteCloser{{a, b}, {b, a}} {
		group.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // whoever uses it sees the end
			_ = a.Close()
			_ = b.Close()
		})
	}
	group.Wait()
}

func withCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// maxOutput bounds what is kept of what a script says.
const maxOutput = 1 << 20

// maxScripts is how many run at a time. OpenSSH allows ten sessions a connection (MaxSessions), of which SFTP takes one;
// forwarded ports and sockets are none.
const maxScripts = 6

// Shell runs a script there, with sh, and returns what it writes to its standard output.
func (h *Host) Shell(ctx context.Context, script string) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("running a script on %s: %w", h.Name(), context.Cause(ctx))
	}
	client, err := h.connected(ctx)
	if err != nil {
		return nil, err
	}
	session, err := client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("running a script on %s: %w", h.Name(), err)
	}
	defer func() { _ = session.Close() }() // it has ended, or is to end now
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	var stdout, stderr bounded
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(script), &stdout, &stderr
	err = session.Run("exec sh -s") // a login shell of any kind understands that
	if ctx.Err() != nil {
		return nil, fmt.Errorf("running a script on %s: %w", h.Name(), context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("on %s: %w: %s", h.Name(), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// bounded keeps the beginning of what is written.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	_, _ = b.Buffer.Write(p[:min(len(p), max(0, maxOutput-b.Len()))]) // a buffer does not fail
	return len(p), nil
}

// Files gives access to the machine's files. The client is shared: it is not to be closed.
func (h *Host) Files(ctx context.Context) (*sftp.Client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	client, err := h.connect(ctx)
	if err != nil || h.files != nil {
		return h.files, err
	}
	files, err := sftp.NewClient(client.Client, sftp.UseConcurrentWrites(true))
	if err != nil {
		return nil, fmt.Errorf("reaching the files of %s: %w (does its sshd offer sftp?)", h.Name(), err)
	}
	h.files = files
	return files, nil
}

// Close ends the connection.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	client := h.client
	h.mu.Unlock()
	if client != nil {
		h.forget(client)
	}
	return nil
}
