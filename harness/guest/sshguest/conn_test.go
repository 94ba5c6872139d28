package sshguest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/wait"
)

func connect(t *testing.T, config sshguest.Config) *sshguest.Conn {
	t.Helper()
	conn, err := sshguest.New(config).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*sshguest.Conn)
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	conn := connect(t, configFor(guesttest.NewServer(t, guesttest.ServerOptions{})))
	result, err := conn.Run(t.Context(), guest.Command{Line: fmt.Sprintf("head -c %d /dev/zero; echo end >&2", guest.MaxOutput+1)})
	if err != nil || len(result.Stdout) != guest.MaxOutput || !result.Truncated || string(result.Stderr) != "end\n" {
		t.Errorf("kept %d bytes, truncated %v, stderr %q, %v", len(result.Stdout), result.Truncated, result.Stderr, err)
	}
}

func TestACancelledCommandIsTerminated(t *testing.T) {
	t.Parallel()
	conn := connect(t, configFor(guesttest.NewServer(t, guesttest.ServerOptions{})))
	trapped := filepath.Join(t.TempDir(), "trapped")
	ctx, cancel := context.WithCancel(t.Context())
	begun, output := io.Pipe()
	go func() {
		_, _ = begun.Read(make([]byte, 1))
		cancel()
		_, _ = io.Copy(io.Discard, begun)
	}()
	line := "trap 'echo yes >" + trapped + "; exit' TERM; echo begun; while :; do sleep 0.05; done"
	if _, err := conn.Run(ctx, guest.Command{Line: line, Stdout: output}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Run: %v", err)
	}
	bounded, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := wait.Until(bounded, "the trap", 10*time.Millisecond, func(context.Context) (bool, error) {
		_, err := os.Stat(trapped)
		return err == nil, nil
	}); err != nil {
		t.Error(err)
	}
}

func TestUnixSocketsAreReached(t *testing.T) {
	t.Parallel()
	conn := connect(t, configFor(guesttest.NewServer(t, guesttest.ServerOptions{})))
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		if arrived, err := listener.Accept(); err == nil {
			_, _ = io.WriteString(arrived, "hello")
			_ = arrived.Close()
		}
	}()
	through, err := conn.Dial(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(through); string(got) != "hello" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestAnHTTPServerOnAListenerShutsDown(t *testing.T) {
	t.Parallel()
	conn := connect(t, configFor(guesttest.NewServer(t, guesttest.ServerOptions{})))
	listener, err := conn.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Repeat("page", 100_000)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) }),
	}
	go func() { _ = server.Serve(listener) }()
	client := &http.Client{Transport: &http.Transport{DialContext: conn.Dial}}
	for range 3 { // over one kept connection
		response, err := client.Get("http://" + listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(body) != page {
			t.Errorf("got %d bytes, %v", len(body), err)
		}
	}
	client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := conn.Dial(t.Context(), "tcp", listener.Addr().String()); err == nil {
		t.Error("the port is still open in the guest")
	}
}

func TestListenTakesAddressesOnly(t *testing.T) {
	t.Parallel()
	conn := connect(t, configFor(guesttest.NewServer(t, guesttest.ServerOptions{})))
	if _, err := conn.Listen(t.Context(), "a.name.of.the.host:0"); err == nil || errors.Is(err, guest.ErrLost) {
		t.Errorf("Listen: %v, want a refusal", err)
	}
}

// lines is a writer that several goroutines may use.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.b.String()), "\n")
}

func TestTheLogHasALineForEachAct(t *testing.T) {
	t.Parallel()
	var log lines
	config := configFor(guesttest.NewServer(t, guesttest.ServerOptions{}))
	config.CommandLog = &log
	conn := connect(t, config)
	name := filepath.Join(t.TempDir(), "file")
	_, _ = conn.Run(t.Context(), guest.Command{Line: "exit 7"})
	_, _ = conn.Run(t.Context(), guest.Command{Line: "echo \"two\nlines\x1b[2J\" # " + strings.Repeat("long", 5000)})
	_ = conn.Put(t.Context(), name, fs.FileMode(0o640), strings.NewReader("four"))
	_ = conn.Get(t.Context(), name+"x", io.Discard)
	got := log.all()
	if len(got) != 4 {
		t.Fatalf("%d lines, want 4:\n%s", len(got), strings.Join(got, "\n"))
	}
	for i, want := range []string{"exit 7   exit 7", `exit 0   echo "two\nlines\x1b[2J" # long`, "ok       put " + name + ", 4 bytes, mode -rw-r-----", "error getting"} {
		if !strings.Contains(got[i], want) || len(got[i]) > 2200 {
			t.Errorf("line %d is %.200q, want %q in it", i+1, got[i], want)
		}
	}
}
