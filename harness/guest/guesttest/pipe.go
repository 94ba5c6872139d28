package guesttest

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// pipe is one end of an in-memory connection that can be closed for writing alone, like a TCP connection.
type pipe struct {
	net.Conn // for reading

	out    net.Conn
	closed atomic.Bool
}

func newPipe() (a, b *pipe) {
	readA, writeB := net.Pipe()
	readB, writeA := net.Pipe()
	return &pipe{Conn: readA, out: writeA}, &pipe{Conn: readB, out: writeB}
}

// Write writes to the other end.
func (p *pipe) Write(b []byte) (int, error) { return p.out.Write(b) }

// CloseWrite lets the other end read to the end.
func (p *pipe) CloseWrite() error { return p.out.Close() }

// Close closes both directions.
func (p *pipe) Close() error {
	if !p.closed.Swap(true) {
		_ = p.out.Close()
		_ = p.Conn.Close()
	}
	return nil
}

// SetDeadline bounds reads and writes.
func (p *pipe) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

// SetReadDeadline bounds reads. That a direction has ended is no error, as with TCP.
func (p *pipe) SetReadDeadline(t time.Time) error {
	_ = p.Conn.SetReadDeadline(t)
	return p.isOpen()
}

// SetWriteDeadline bounds writes, as [pipe.SetReadDeadline] does reads.
func (p *pipe) SetWriteDeadline(t time.Time) error {
	_ = p.out.SetWriteDeadline(t)
	return p.isOpen()
}

func (p *pipe) isOpen() error {
	if p.closed.Load() {
		return net.ErrClosed
	}
	return nil
}
