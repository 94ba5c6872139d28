package sshguest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/wait"
)

func attached(t *testing.T, server *guesttest.Server) *sshguest.Conn {
	t.Helper()
	conn, err := sshguest.New(sshguest.Config{Address: server.Address, HostKey: server.HostKey, Signer: server.Key}).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*sshguest.Conn)
}

func TestAttachPassesInputOutputAndTheExitCode(t *testing.T) {
	t.Parallel()
	conn := attached(t, guesttest.NewServer(t, guesttest.ServerOptions{}))
	for line, input := range map[string]string{"cat; echo gone >&2; exit 7": "hello", "": "printf hello; echo gone >&2; exit 7"} {
		var stdout, stderr bytes.Buffer
		code, err := conn.Attach(t.Context(), sshguest.Session{
			Line: line, Stdin: strings.NewReader(input), Stdout: &stdout, Stderr: &stderr,
		})
		if code != 7 || err != nil || stdout.String() != "hello" || stderr.String() != "gone\n" {
			t.Errorf("%q ends with %d, %v, %q and %q", line, code, err, stdout.String(), stderr.String())
		}
	}
	code, err := conn.Attach(t.Context(), sshguest.Session{Line: "kill -TERM $$", Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
	if code != 128+15 || err != nil {
		t.Errorf("a signal ends with %d, %v", code, err)
	}
}

func TestAttachTellsTheSizeOfTheTerminal(t *testing.T) {
	t.Parallel()
	server := guesttest.NewServer(t, guesttest.ServerOptions{})
	conn := attached(t, server)
	sizes := make(chan sshguest.Size)
	input, end := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Attach(t.Context(), sshguest.Session{
			Line: "cat", Stdin: input, Stdout: io.Discard, Stderr: io.Discard,
			Terminal: &sshguest.Terminal{Name: "xterm", Size: sshguest.Size{Columns: 80, Rows: 24}, Resized: sizes},
		})
		ended <- err
	}()
	sizes <- sshguest.Size{Columns: 132, Rows: 50}
	err := wait.Until(t.Context(), "the new size", time.Millisecond, func(context.Context) (bool, error) {
		return slices.Equal(server.Sizes(), []string{"80x24", "132x50"}), nil
	})
	if err != nil {
		t.Errorf("%v: %v", err, server.Sizes())
	}
	_ = end.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAttachEndsWithTheConnectionWhateverTheInputDoes(t *testing.T) {
	t.Parallel()
	server := guesttest.NewServer(t, guesttest.ServerOptions{})
	conn := attached(t, server)
	input, hold := io.Pipe()
	defer func() { _ = hold.Close() }()
	seen, tell := io.Pipe()
	go func() {
		_, _ = io.ReadFull(seen, make([]byte, len("up")))
		server.Cut()
	}()
	_, err := conn.Attach(t.Context(), sshguest.Session{Line: "printf up; cat", Stdin: input, Stdout: tell, Stderr: io.Discard})
	if !errors.Is(err, guest.ErrLost) {
		t.Errorf("a lost connection gives %v", err)
	}
}
