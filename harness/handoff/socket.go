package handoff

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Listen opens a socket that only this user's processes can reach. Its address goes into [Handoff.Socket].
func Listen() (net.Listener, error) {
	name := "@patchlab-" + rand.Text() // 128 bits: nobody guesses it, and nobody else has it
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("opening the socket for the suites: %w", err)
	}
	return peerListener{listener}, nil
}

// peerListener drops connections of other users, whom the socket's name alone would not keep out.
type peerListener struct{ *net.UnixListener }

func (l peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if samePeer(conn) == nil {
			return conn, nil
		}
		_ = conn.Close() // a stranger's
	}
}

// connect opens a connection to the harness.
func connect(ctx context.Context, socket string) (*net.UnixConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	// Once the harness is gone, another user could take the name over.
	if err := samePeer(conn.(*net.UnixConn)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn.(*net.UnixConn), nil
}

func samePeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("asking who is at the other end: %w", err)
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, peerErr); err != nil {
		return fmt.Errorf("asking who is at the other end: %w", err)
	}
	if uid := os.Getuid(); int(peer.Uid) != uid {
		return fmt.Errorf("the other end runs as user %d, not %d", peer.Uid, uid)
	}
	return nil
}
