package handoff

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync/atomic"

	"github.com/patchlab/patchlab/harness/guest"
)

// serveDial connects to the guest and carries the bytes both ways.
func serveDial(ctx context.Context, cancel context.CancelFunc, req request, from *bufio.Reader, client net.Conn,
	conn guest.Conn, out *frameWriter,
) {
	// The client writes nothing before the reply: what ends this read before then is its going away, and later its
	// saying that no more comes.
	var connected atomic.Bool
	peeked := make(chan struct{})
	go func() {
		defer close(peeked)
		if _, err := from.Peek(1); err != nil && !connected.Load() {
			cancel()
		}
	}()
	var r reply
	inner, err := conn.Dial(ctx, req.Network, req.Address)
	r.setError(err)
	connected.Store(true)
	if sendErr := out.reply(r); err != nil || sendErr != nil {
		if err == nil {
			_ = inner.Close()
		}
		return
	}
	defer func() { _ = inner.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = inner.Close() })
	defer stop()

	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if _, err := io.Copy(client, inner); err != nil {
			cancel() // one side is gone
			return
		}
		closeWrite(client)
	}()
	<-peeked
	if _, err := io.Copy(inner, from); err != nil {
		cancel()
	} else {
		closeWrite(inner)
	}
	<-answered
}

// closeWrite tells the other side that no more comes, while its answer may still come. A connection that cannot say
// so is closed.
func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the peer may be gone already
		return
	}
	_ = conn.Close()
}
