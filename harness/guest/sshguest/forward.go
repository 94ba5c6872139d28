package sshguest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/patchlab/patchlab/harness/guest/commandlog"
)

// Dial connects to an address as seen from inside the guest. Unlike plain SSH channels, what it returns honours deadlines.
// The guest's refusal ("connection refused") is an error that does not wrap [guest.ErrLost].
func (c *Conn) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	act := fmt.Sprintf("connecting to %s %s inside the guest", network, commandlog.Quote(address, 200))
	channel, err := inTime(ctx, func() (net.Conn, error) { return c.client.Dial(network, address) },
		func(late net.Conn) { _ = late.Close() })
	if err != nil {
		return nil, c.fault(ctx, act, err)
	}
	return newStream(channel, channelAddr{"guest", "host"}, channelAddr{network, address}), nil
}

// Listen opens a TCP port on an IP address inside the guest. ctx bounds the opening alone; the listener ends with its Close
// or with the connection, whichever is first.
func (c *Conn) Listen(ctx context.Context, address string) (net.Listener, error) {
	act := fmt.Sprintf("listening on %s inside the guest", commandlog.Quote(address, 200))
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	inner, err := inTime(ctx, func() (net.Listener, error) { return c.client.Listen("tcp", address) },
		func(late net.Listener) { _ = late.Close() })
	if err != nil {
		return nil, c.fault(ctx, act, err)
	}
	return &listener{Listener: inner}, nil
}

// listener makes streams with deadlines of what arrives.
type listener struct{ net.Listener }

// Accept waits for the next connection.
func (l *listener) Accept() (net.Conn, error) {
	channel, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newStream(channel, l.Addr(), channel.RemoteAddr()), nil
}

// Close closes the port in the guest. A guest that does not answer is not waited for: its connection will be given up.
func (l *listener) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_, err := inTime(ctx, func() (struct{}, error) { return struct{}{}, l.Listener.Close() }, func(struct{}) {})
	return err
}

// stream is an SSH channel as a net.Conn that honours deadlines, without which net/http waits for ever in places. A pair
// of in-memory pipes has them, and two goroutines copy between those and the channel.
type stream struct {
	channel       net.Conn
	in, out       net.Conn
	sent          chan struct{} // closed when what was written has been delivered
	local, remote net.Addr
	closed        atomic.Bool
}

func newStream(channel net.Conn, local, remote net.Addr) *stream {
	in, fromChannel := net.Pipe()
	out, toChannel := net.Pipe()
	s := &stream{channel: channel, in: in, out: out, sent: make(chan struct{}), local: local, remote: remote}
	go func() {
		copyAll(fromChannel, channel)
		_ = fromChannel.Close()
	}()
	go func() {
		defer close(s.sent)
		copyAll(channel, toChannel)
		_ = toChannel.Close()
		if half, ok := channel.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	return s
}

// copyAll copies until either side ends. A side that fails ends like one that is closed, as with a TCP connection that
// is reset after its data.
func copyAll(to net.Conn, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Read reads what the guest sends.
func (s *stream) Read(p []byte) (int, error) { return s.in.Read(p) }

// Write sends to the guest.
func (s *stream) Write(p []byte) (int, error) { return s.out.Write(p) }

// CloseWrite tells the other side that no more comes.
func (s *stream) CloseWrite() error { return s.out.Close() }

// Close ends both directions. What was written is still delivered, behind the caller's back as with TCP.
func (s *stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	_ = s.out.Close()
	_ = s.in.Close()
	go func() {
		<-s.sent
		_ = s.channel.Close()
	}()
	return nil
}

// LocalAddr is this side's address.
func (s *stream) LocalAddr() net.Addr { return s.local }

// RemoteAddr is the other side's address, as SSH tells it.
func (s *stream) RemoteAddr() net.Addr { return s.remote }

// SetDeadline bounds reads and writes.
func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline bounds reads.
func (s *stream) SetReadDeadline(t time.Time) error {
	_ = s.in.SetReadDeadline(t) // it refuses when that direction has ended, which with TCP is no error
	return s.isOpen()
}

// SetWriteDeadline bounds writes.
func (s *stream) SetWriteDeadline(t time.Time) error {
	_ = s.out.SetWriteDeadline(t) // as above
	return s.isOpen()
}

func (s *stream) isOpen() error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	return nil
}

// channelAddr names an end of a forwarded connection.
type channelAddr struct{ network, address string }

// Network is "tcp" or "unix".
func (a channelAddr) Network() string { return a.network }

// String is the address as it was asked for.
func (a channelAddr) String() string { return a.address }

var _ net.Conn = (*stream)(nil)
