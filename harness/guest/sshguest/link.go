package sshguest

import (
	"net"
	"sync/atomic"
	"time"
)

// link is the TCP connection below SSH. It knows when the guest was last heard of, so that a long transfer counts as a
// sign of life although the answer to a keepalive is queued behind it.
type link struct {
	net.Conn
	born  time.Time
	heard atomic.Int64 // nanoseconds since born
	first []byte       // read ahead while waiting for the banner
}

func newLink(raw net.Conn) *link { return &link{Conn: raw, born: time.Now()} }

// awaitFirstByte waits until somebody behind the connection speaks. An SSH server speaks first.
func (l *link) awaitFirstByte(bound time.Duration) error {
	if err := l.SetReadDeadline(time.Now().Add(bound)); err != nil {
		return err
	}
	one := make([]byte, 1)
	n, err := l.Conn.Read(one)
	l.first = one[:n]
	return err
}

// Read hands out the byte that was read ahead, then what the guest sends.
func (l *link) Read(p []byte) (int, error) {
	if len(l.first) > 0 && len(p) > 0 {
		n := copy(p, l.first)
		l.first = l.first[n:]
		return n, nil
	}
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard.Store(int64(time.Since(l.born)))
	}
	return n, err
}

// silence is how long nothing was heard of the guest.
func (l *link) silence() time.Duration { return time.Since(l.born) - time.Duration(l.heard.Load()) }
