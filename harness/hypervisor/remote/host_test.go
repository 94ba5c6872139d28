package remote_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/hypervisor/remote"
	"github.com/patchlab/patchlab/harness/sshclient"
	"github.com/patchlab/patchlab/harness/wait"
)

// machine is a server that plays another machine, with a user's settings that lead to it.
func machine(t *testing.T) (*guesttest.Server, sshclient.Config, sshclient.Target) {
	t.Helper()
	server, home := guesttest.NewServerWithHome(t)
	target, err := sshclient.ParseTarget(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	return server, sshclient.Config{Home: home, User: "me"}, target
}

func open(t *testing.T) (*guesttest.Server, *remote.Host) {
	t.Helper()
	server, config, target := machine(t)
	host, err := remote.Open(t.Context(), config, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	return server, host
}

func TestScriptsRunThere(t *testing.T) {
	t.Parallel()
	_, host := open(t)
	output, err := host.Shell(t.Context(), "a="+remote.Quote("it's $HOME")+`; printf '%s\n' "$a"; echo more >&2`)
	if err != nil || string(output) != "it's $HOME\n" {
		t.Errorf("got %q (%v)", output, err)
	}
	if _, err := host.Shell(t.Context(), "echo what went wrong >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "what went wrong") {
		t.Errorf("a script that fails: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := host.Shell(ended, "true"); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	var group sync.WaitGroup
	for range 20 { // more than a server has sessions
		group.Go(func() {
			if _, err := host.Shell(t.Context(), "sleep 0.01"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// echo answers what it hears, on a socket.
func echo(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	return socket
}

func TestASocketThereIsReached(t *testing.T) {
	t.Parallel()
	_, host := open(t)
	conn, err := host.Dial(t.Context(), "unix", echo(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("heard %q (%v)", got, err)
	}
	read := make(chan error)
	go func() {
		_, err := conn.Read(got)
		read <- err
	}()
	_ = conn.Close()
	if err := <-read; err == nil {
		t.Error("a read survives the end of its connection")
	}
	if _, err := host.Dial(t.Context(), "unix", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a socket that is not there is reached")
	}
}

func TestAConnectionThatBreaksIsMadeAnew(t *testing.T) {
	t.Parallel()
	server, host := open(t)
	files, err := host.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Cut()
	if _, err := files.Getwd(); err == nil {
		t.Fatal("the connection stands")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = wait.Until(ctx, "the machine to be reached anew", 10*time.Millisecond, func(ctx context.Context) (bool, error) {
		_, err := host.Shell(ctx, "true")
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files, err = host.Files(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Getwd(); err != nil {
		t.Error(err)
	}
	if err := host.Close(); err != nil {
		t.Error(err)
	}
	if _, err := host.Shell(t.Context(), "true"); err == nil {
		t.Error("a closed machine is reached")
	}
}

func TestAMachineThatIsNotKnownIsNotTalkedTo(t *testing.T) {
	t.Parallel()
	_, config, target := machine(t)
	known := filepath.Join(config.Home, ".ssh", "known_hosts")
	if err := os.Remove(known); err != nil {
		t.Fatal(err)
	}
	_, err := remote.Open(t.Context(), config, target)
	unknown, ok := errors.AsType[*sshclient.HostKeyError](err)
	if !ok || unknown.Changed || !strings.Contains(err.Error(), known) || !strings.Contains(err.Error(), target.Host) {
		t.Errorf("the error is %v", err)
	}
}
