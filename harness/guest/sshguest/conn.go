package sshguest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/commandlog"
)

// maxSessions is how many commands run at a time on one connection. OpenSSH allows ten sessions (MaxSessions), of which
// SFTP takes one; further commands wait here instead of being refused there.
const maxSessions = 8

// Conn is one SSH connection.
type Conn struct {
	client *ssh.Client
	link   *link
	log    *commandlog.Log
	sudo   bool
	slots  chan struct{} // one element for each running command
	gone   chan struct{} // closed when the connection has ended

	mu    sync.Mutex
	cause error // why the connection ended, once it did

	filesMu sync.Mutex
	files   *sftp.Client // nil until first needed
}

var (
	_ guest.Conn     = (*Conn)(nil)
	_ guest.Listener = (*Conn)(nil)
)

var errClosed = errors.New("it was closed on this side")

func newConn(config Config, log *commandlog.Log, link *link, client *ssh.Client) *Conn {
	c := &Conn{
		client: client, link: link, log: log, sudo: config.Sudo,
		slots: make(chan struct{}, maxSessions), gone: make(chan struct{}),
	}
	go func() {
		err := client.Wait()
		c.fail(err)
		close(c.gone)
	}()
	go c.keepalive(config.KeepaliveInterval, config.KeepaliveBound)
	return c
}

// Close gives up the connection. Its commands in the guest get no more input and lose their output.
func (c *Conn) Close() error {
	c.fail(errClosed)
	return nil
}

// fail ends the connection for a reason; the first reason counts.
func (c *Conn) fail(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	_ = c.link.Close()
}

// endCause is why the connection ended, or nil while it stands.
func (c *Conn) endCause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// fault says what was attempted when err came, and whether it was ctx that ended, the connection that was lost, or the
// guest that said no. Context errors come first: they look like network timeouts.
func (c *Conn) fault(ctx context.Context, act string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", act, context.Cause(ctx))
	}
	if endsConnection(err) {
		c.fail(err)
	}
	if cause := c.endCause(); cause != nil {
		return lost(act, cause)
	}
	return fmt.Errorf("%s: %w", act, sanitised{err})
}

// keepalive asks for a sign of life when the guest is silent, and gives the connection up when none comes. At most one
// question is open at a time.
func (c *Conn) keepalive(interval, bound time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	answered := make(chan struct{}, 1)
	answered <- struct{}{}
	for {
		select {
		case <-c.gone:
			return
		case <-tick.C:
		}
		silence := c.link.silence()
		if silence >= bound {
			c.fail(errors.New("the guest said nothing for " + silence.Round(time.Second).String()))
			return
		}
		if silence < interval {
			continue
		}
		select {
		case <-answered:
			go func() {
				_, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil)
				answered <- struct{}{}
			}()
		default:
		}
	}
}

// inTime waits for an act that knows no context, until ctx ends. The act is then left to end by itself, at the latest with
// the connection, and what it still brings is given to discard.
func inTime[T any](ctx context.Context, act func() (T, error), discard func(T)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := act()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				discard(o.value)
			}
		}()
		var zero T
		return zero, context.Cause(ctx)
	}
}
