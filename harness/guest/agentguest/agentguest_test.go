package agentguest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/agentguest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/wait"
)

func dialer(t *testing.T, m *machine) *agentguest.Dialer {
	t.Helper()
	return agentguest.New(agentguest.Config{Agent: m, Dir: filepath.Join(t.TempDir(), "patchlab", "agent")})
}

func open(t *testing.T, m *machine) guest.Conn {
	t.Helper()
	conn, err := dialer(t, m).Dial(t.Context())
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	return conn
}

func TestConformance(t *testing.T) {
	t.Parallel()
	guesttest.RunConn(t, func(t *testing.T) guesttest.Subject {
		t.Helper()
		return guesttest.Subject{Dialer: dialer(t, newMachine(t)), Dir: t.TempDir(), WithoutPorts: true, WholeInput: true}
	})
}

// TestLongOutputsComeInPieces is about what the agent would keep in memory and libvirt refuse: one long answer.
func TestLongOutputsComeInPieces(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	conn := open(t, m)
	const size = 700_000 // many chunks
	line := "head -c " + strconv.Itoa(size) + " /dev/zero | tr '\\0' o; head -c 60000 /dev/zero | tr '\\0' e >&2; exit 4"
	result, err := conn.Run(t.Context(), guest.Command{Line: line})
	if err != nil {
		t.Fatal(err)
	}
	if result.ExitCode != 4 || !bytes.Equal(result.Stdout, bytes.Repeat([]byte("o"), size)) ||
		!bytes.Equal(result.Stderr, bytes.Repeat([]byte("e"), 60000)) || result.Truncated {
		t.Errorf("exit %d, %d and %d bytes, truncated %v", result.ExitCode, len(result.Stdout), len(result.Stderr), result.Truncated)
	}
	if n := m.calls["guest-file-read"]; n < 20 {
		t.Errorf("the outputs came in %d pieces", n)
	}
}

func TestEndlessOutputIsCutOff(t *testing.T) {
	t.Parallel()
	result, err := open(t, newMachine(t)).Run(t.Context(), guest.Command{Line: "head -c 17000000 /dev/zero; echo end >&2"})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Truncated || len(result.Stdout) != 16<<20 || string(result.Stderr) != "end\n" {
		t.Errorf("%d bytes, truncated %v, %q: want 16 MiB and the command's own end", len(result.Stdout), result.Truncated,
			result.Stderr)
	}
}

func TestALongInputGoesInPieces(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	result, err := open(t, m).Run(t.Context(), guest.Command{Line: "wc -c", Stdin: strings.NewReader(strings.Repeat("x", 3_000_000))})
	if err != nil || strings.TrimSpace(string(result.Stdout)) != "3000000" {
		t.Errorf("the command read %q (%v)", result.Stdout, err)
	}
	if m.longest > 64<<10 {
		t.Errorf("a command was %d bytes long", m.longest)
	}
}

// TestNothingStaysBehind looks for files and processes after what succeeded, what was long and what was given up.
func TestNothingStaysBehind(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "patchlab", "agent")
	conn, err := agentguest.New(agentguest.Config{Agent: newMachine(t), Dir: dir}).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pid := filepath.Join(t.TempDir(), "pid")
	for _, command := range []guest.Command{
		{Line: "echo short"},
		{Line: "head -c 100000 /dev/zero"},
		{Line: "wc -c", Stdin: strings.NewReader(strings.Repeat("x", 100_000))},
	} {
		if _, err := conn.Run(t.Context(), command); err != nil {
			t.Errorf("%q: %v", command.Line, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := conn.Run(ctx, guest.Command{Line: "echo $$ >" + pid + "; sleep 600"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the command that was given up: %v", err)
	}
	bounded, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	if err := wait.Until(bounded, "everything to be gone", 50*time.Millisecond, func(context.Context) (bool, error) {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			return false, err
		}
		number, err := os.ReadFile(pid)
		if err != nil {
			return false, err
		}
		_, err = os.Stat("/proc/" + strings.TrimSpace(string(number)))
		return errors.Is(err, os.ErrNotExist), nil
	}); err != nil {
		t.Error(err)
	}
}

func TestARebootLosesTheConnection(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	conn := open(t, m)
	done := make(chan error, 1)
	go func() {
		_, err := conn.Run(t.Context(), guest.Command{Line: "sleep 600"})
		done <- err
	}()
	if err := wait.Until(t.Context(), "the command to begin", 10*time.Millisecond, func(context.Context) (bool, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.calls["guest-exec-status"] > 0, nil
	}); err != nil {
		t.Fatal(err)
	}
	m.reboot()
	if err := <-done; !errors.Is(err, guest.ErrLost) {
		t.Errorf("Run: %v, want guest.ErrLost", err)
	}
	if _, err := conn.Run(t.Context(), guest.Command{Line: "true"}); !errors.Is(err, guest.ErrLost) {
		t.Errorf("the next Run: %v, want guest.ErrLost", err)
	}
	if _, err := open(t, m).Run(t.Context(), guest.Command{Line: "true"}); err != nil {
		t.Errorf("over a new connection: %v", err)
	}
}

func TestNoAgentIsALostConnectionAndAForbiddenOneIsNot(t *testing.T) {
	t.Parallel()
	silent, forbidden := newMachine(t), newMachine(t)
	silent.set(true)
	forbidden.disabled = "guest-exec"
	if _, err := dialer(t, silent).Dial(t.Context()); !errors.Is(err, guest.ErrLost) {
		t.Errorf("no agent: %v", err)
	}
	if _, err := dialer(t, forbidden).Dial(t.Context()); !errors.Is(err, agentguest.ErrDisabled) || errors.Is(err, guest.ErrLost) {
		t.Errorf("an agent that may not run commands: %v", err)
	}
}

func TestDialIsUnsupported(t *testing.T) {
	t.Parallel()
	if _, err := open(t, newMachine(t)).Dial(t.Context(), "tcp", "127.0.0.1:22"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Dial: %v", err)
	}
}

// TestAHostileAgentIsNotBelieved lets the guest answer what it likes.
func TestAHostileAgentIsNotBelieved(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, command, answer string }{
		{"no JSON", "guest-exec", "\x1b[2J"},
		{"no answer", "guest-exec", `{}`},
		{"nothing", "guest-exec", `{"return":null}`},
		{"another type", "guest-exec", `{"return":[1]}`},
		{"a process group", "guest-exec", `{"return":{"pid":-1}}`},
		{"neither code nor signal", "guest-exec-status", `{"return":{"exited":true}}`},
		{"an odd code", "guest-exec-status", `{"return":{"exited":true,"exitcode":4711}}`},
		{"a part of an output", "guest-exec-status", `{"return":{"exited":true,"exitcode":0,"out-truncated":true}}`},
		{"no outcome", "guest-exec-status", `{"return":{"exited":true,"exitcode":0,"out-data":"aGVsbG8K"}}`},
		{"sizes that are wrong", "guest-exec-status", `{"return":{"exited":true,"exitcode":0,"out-data":"cGF0Y2hsYWIgMCA1IDAK"}}`},
		{"too much", "guest-exec-status", `{"return":"` + strings.Repeat("x", 1<<20) + `"}`},
		{"a file without end", "guest-file-read", `{"return":{"count":0,"buf-b64":"","eof":false}}`},
		{"more than was asked for", "guest-file-read", `{"return":{"count":300000,"buf-b64":"","eof":false}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			conn := open(t, m)
			m.mangle = func(name string, answer []byte) []byte {
				if name == tt.command {
					return []byte(tt.answer)
				}
				return answer
			}
			_, err := conn.Run(t.Context(), guest.Command{Line: "head -c 100000 /dev/zero"})
			if !errors.Is(err, agentguest.ErrAnswer) || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 1000 {
				t.Errorf("the error is %q", err)
			}
		})
	}
}
