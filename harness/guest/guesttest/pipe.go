package guesttest

import (
	"net"
	"sync"
	"time"
)

// pipe is one end of an in-memory connection that can be closed for writing alone, like a TCP connection.
type pipe struct {
	net.Conn // for reading

	out  net.Conn
	once sync.Once
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
	p.once.Do(func() {
		_ = p.out.Close()
		_ = p.Conn.Close()
	})
	return nil
}

// SetDeadline bounds reads and writes.
func (p *pipe) SetDeadline(t time.Time) error {
	_ = p.SetReadDeadline(t)
	return p.out.SetWriteDeadline(t)
}

// SetWriteDeadline bounds writes.
func (p *pipe) SetWriteDeadline(t time.Time) error { return p.out.SetWriteDeadline(t) }
