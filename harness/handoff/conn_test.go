package handoff_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/handoff"
)

// served dials a guest, serves each connection on a socket of its own, and returns what reaches it from there.
type served struct{ guest.Dialer }

func (s served) Dial(ctx context.Context) (guest.Conn, error) {
	inner, err := s.Dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	listener, err := handoff.Listen()
	if err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- handoff.Serve(serving, listener, inner) }()
	return &throughSocket{Conn: handoff.Dial(listener.Addr().String()), inner: inner, stop: stop, ended: ended}, nil
}

// throughSocket also listens, for the conformance suite: suites themselves cannot.
type throughSocket struct {
	*handoff.Conn
	inner guest.Conn
	stop  context.CancelFunc
	ended chan error

	once sync.Once
	err  error
}

func (s *throughSocket) Listen(ctx context.Context, address string) (net.Listener, error) {
	return s.inner.(guest.Listener).Listen(ctx, address)
}

func (s *throughSocket) Close() error {
	s.once.Do(func() {
		err := s.Conn.Close()
		s.stop()
		s.err = errors.Join(err, <-s.ended, s.inner.Close())
	})
	return s.err
}

func TestConnKeepsTheContract(t *testing.T) {
	t.Parallel()
	guesttest.RunConn(t, func(t *testing.T) guesttest.Subject {
		t.Helper()
		server := guesttest.NewServer(t, guesttest.ServerOptions{})
		dialer := sshguest.New(sshguest.Config{Address: server.Address, HostKey: server.HostKey, Signer: server.Key})
		return guesttest.Subject{
			Dialer: served{dialer}, Dir: t.TempDir(), Cut: func(*testing.T) { server.Cut() },
		}
	})
}

// serve serves a scripted guest to the end of the test, and returns how to reach it.
func serve(t *testing.T, script *guesttest.Script) *throughSocket {
	t.Helper()
	conn, err := served{script}.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	through := conn.(*throughSocket)
	t.Cleanup(func() { _ = through.Close() })
	return through
}

func TestGoneClientCancelsItsCommand(t *testing.T) {
	t.Parallel()
	script := guesttest.NewScript()
	started, ended := make(chan struct{}), make(chan struct{})
	script.On("hang", func(ctx context.Context, _ guest.Command) guest.Result {
		close(started)
		<-ctx.Done()
		close(ended)
		return guest.Result{}
	})
	conn := serve(t, script)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := conn.Run(ctx, guest.Command{Line: "hang"})
		result <- err
	}()
	<-started
	cancel()
	<-ended // else the test times out
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

// A command that does not read its input must still notice when its caller is gone.
func TestGoneClientCancelsACommandThatDoesNotReadItsInput(t *testing.T) {
	t.Parallel()
	script := guesttest.NewScript()
	started, ended := make(chan struct{}), make(chan struct{})
	script.On("hang", func(ctx context.Context, _ guest.Command) guest.Result {
		close(started)
		<-ctx.Done()
		close(ended)
		return guest.Result{}
	})
	conn := serve(t, script)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_, _ = conn.Run(ctx, guest.Command{Line: "hang", Stdin: strings.NewReader(strings.Repeat("x", 10<<20))})
	}()
	<-started
	cancel()
	<-ended
}

func TestEndOfServingIsALostConnection(t *testing.T) {
	t.Parallel()
	script := guesttest.NewScript()
	script.On("hang", guesttest.Hangs())
	script.On("true", guesttest.Says(""))
	conn := serve(t, script)
	if _, err := conn.Run(t.Context(), guest.Command{Line: "true"}); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := conn.Run(t.Context(), guest.Command{Line: "hang"})
		result <- err
	}()
	conn.stop()
	if err := <-result; !errors.Is(err, guest.ErrLost) {
		t.Errorf("under way: error %v, want guest.ErrLost", err)
	}
	if _, err := conn.Run(t.Context(), guest.Command{Line: "true"}); !errors.Is(err, guest.ErrLost) {
		t.Errorf("afterwards: error %v, want guest.ErrLost", err)
	}
}

func TestNothingIsServedToAnUnknownRequest(t *testing.T) {
	t.Parallel()
	guestConn, err := guesttest.NewScript().Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := handoff.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- handoff.Serve(ctx, listener, guestConn) }()
	for _, sent := range []string{"not JSON\n", `{"op":"format"}` + "\n", strings.Repeat("x", 2<<20)} {
		raw, err := net.Dial("unix", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(raw, sent) }()
		got, _ := io.ReadAll(raw)
		if !strings.Contains(string(got), "request") {
			t.Errorf("to %.20q came %q, want a complaint", sent, got)
		}
		_ = raw.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	script := guesttest.NewScript()
	script.On("hang", guesttest.Hangs())
	script.Handle("tcp", "127.0.0.1:80", func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	conn := serve(t, script)
	go func() { _, _ = conn.Run(context.WithoutCancel(t.Context()), guest.Command{Line: "hang"}) }()
	through, err := conn.Dial(t.Context(), "tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(through, "x"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	_ = through.Close()
}
