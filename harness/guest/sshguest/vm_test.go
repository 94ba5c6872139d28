//go:build vmtest

package sshguest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/guest/keptguest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
)

// realGuest tells how to reach the guest that the environment names. Without one the test fails: it has tested nothing.
func realGuest(t *testing.T) sshguest.Config {
	t.Helper()
	config, err := keptguest.Config(os.Getenv(keptguest.Variable))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func mustRun(ctx context.Context, t *testing.T, conn guest.Conn, line string) []byte {
	t.Helper()
	command := guest.Command{Line: line}
	result, err := conn.Run(ctx, command)
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return result.Stdout
}

func TestRealGuestKeepsTheContract(t *testing.T) {
	const dir = "/run/patchlab-conformance"
	config := realGuest(t)
	dialer := sshguest.New(config)
	conn, err := dialer.Dial(t.Context())
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	mustRun(t.Context(), t, conn, "rm -rf "+dir+" && mkdir "+dir)
	t.Cleanup(func() {
		mustRun(context.WithoutCancel(t.Context()), t, conn, "rm -rf "+dir)
		_ = conn.Close()
	})
	guesttest.RunConn(t, func(t *testing.T) guesttest.Subject {
		t.Helper()
		// The sshd of each connection but this test's own is killed: no TCP end, no goodbye of SSH.
		cut := func(t *testing.T) {
			t.Helper()
			mustRun(t.Context(), t, conn, `for p in $(pgrep -f '^sshd: root@notty'); do [ "$p" = "$PPID" ] || kill -9 "$p"; done`)
		}
		return guesttest.Subject{Dialer: dialer, Dir: dir, User: "nobody", Cut: cut}
	})
}

// TestRealGuestFigures logs the figures of the package's documentation.
func TestRealGuestFigures(t *testing.T) {
	dialer := sshguest.New(realGuest(t))
	for range 3 {
		start := time.Now()
		conn, err := dialer.Dial(t.Context())
		if err != nil {
			t.Fatalf("Dial: %v", err)
		}
		lap := func(what string) {
			t.Logf("%-16s %.2f s", what, time.Since(start).Seconds())
			start = time.Now()
		}
		lap("connect")
		mustRun(t.Context(), t, conn, "true")
		lap("first command")
		mustRun(t.Context(), t, conn, "true")
		lap("next command")
		for _, size := range []int{1, 3 << 20, 3 << 20} {
			if err := conn.Put(t.Context(), "/run/patchlab-figures", 0o600, bytes.NewReader(make([]byte, size))); err != nil {
				t.Fatalf("Put: %v", err)
			}
			lap(fmt.Sprintf("put %d bytes", size))
		}
		var back bytes.Buffer
		if err := conn.Get(t.Context(), "/run/patchlab-figures", &back); err != nil {
			t.Fatalf("Get: %v", err)
		}
		lap("get it back")
		mustRun(t.Context(), t, conn, "rm /run/patchlab-figures")
		_ = conn.Close()
	}
}
