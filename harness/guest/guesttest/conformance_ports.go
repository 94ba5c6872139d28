package guesttest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
)

// echo listens inside the guest, sends back what arrives, and returns the address.
func echo(t *testing.T, conn guest.Conn) string {
	t.Helper()
	opener, ok := conn.(guest.Listener)
	if !ok {
		t.Fatalf("%T is no guest.Listener", conn)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	listener, err := opener.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	go func() {
		for {
			arrived, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = arrived.Close() }()
				_, _ = io.Copy(arrived, arrived)
			}()
		}
	}()
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Errorf("closing the listener: %v", err)
		}
	})
	return listener.Addr().String()
}

func connect(t *testing.T, conn guest.Conn, address string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	through, err := conn.Dial(ctx, "tcp", address)
	if err != nil {
		t.Fatalf("Dial(%s): %v", address, err)
	}
	t.Cleanup(func() { _ = through.Close() })
	return through
}

func checkListenAndDial(t *testing.T, _ Subject, conn guest.Conn) {
	t.Helper()
	through := connect(t, conn, echo(t, conn))
	deadline := time.Now().Add(patience)
	if err := through.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(through, "hello"); err != nil {
		t.Fatal(err)
	}
	if half, ok := through.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	// A direction that has ended takes a deadline all the same, as with TCP.
	if err := through.SetDeadline(deadline); err != nil {
		t.Errorf("a deadline after the last that was written: %v", err)
	}
	back, err := io.ReadAll(through)
	if err != nil || string(back) != "hello" {
		t.Errorf("came back: %q, %v; want hello and an end", back, err)
	}
	if err := through.SetDeadline(deadline); err != nil {
		t.Errorf("a deadline after the last that was read: %v", err)
	}
	if err := errors.Join(through.Close(), through.SetDeadline(deadline)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a deadline on what is closed: %v, want net.ErrClosed", err)
	}
}

func checkDeadline(t *testing.T, _ Subject, conn guest.Conn) {
	t.Helper()
	through := connect(t, conn, echo(t, conn))
	if err := through.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := through.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read of nothing: %v, want os.ErrDeadlineExceeded", err)
	}
}

func checkRefused(t *testing.T, _ Subject, conn guest.Conn) {
	t.Helper()
	for network, address := range map[string]string{"tcp": "127.0.0.1:1", "unix": "/nowhere/socket"} {
		through, err := conn.Dial(t.Context(), network, address)
		if err == nil {
			_ = through.Close()
		}
		if err == nil || errors.Is(err, guest.ErrLost) {
			t.Errorf("Dial(%s %s): %v, want an error that is not guest.ErrLost", network, address, err)
		}
	}
}
