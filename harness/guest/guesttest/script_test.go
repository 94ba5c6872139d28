package guesttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/guest"
)

// shellScript scripts what a shell answers to the conformance suite.
func shellScript() *Script {
	s := NewScript()
	s.On(lineStreams, Exits(0, "out\n", "err\n"))
	s.On(lineQuotes, Says(`it's "quoted" \ $HOME`))
	s.On(lineExit, Exits(3, "", ""))
	s.On(lineGone, Exits(1, "", "No such file or directory\n"))
	s.On(lineSignal, Exits(143, "", ""))
	s.On(lineSleep, Hangs())
	s.On("echo begun; "+lineSleep, func(ctx context.Context, c guest.Command) guest.Result {
		_, _ = io.WriteString(c.Stdout, "begun\n")
		return Hangs()(ctx, c)
	})
	s.On(lineEcho, func(_ context.Context, c guest.Command) guest.Result {
		content, _ := io.ReadAll(c.Stdin)
		return guest.Result{Stdout: content}
	})
	s.On(lineCount, func(_ context.Context, c guest.Command) guest.Result {
		n, _ := io.Copy(io.Discard, c.Stdin)
		return guest.Result{Stdout: fmt.Appendln(nil, n)}
	})
	s.OnMatch(func(c guest.Command) bool { return c.Line == lineWhoAmI }, func(_ context.Context, c guest.Command) guest.Result {
		return guest.Result{Stdout: []byte(c.User + "\n")}
	})
	s.OnPrefix(lineMode, func(_ context.Context, c guest.Command) guest.Result {
		file, _ := s.File(strings.TrimPrefix(c.Line, lineMode))
		bits := uint32(file.Mode.Perm())
		if file.Mode&(1<<23) != 0 {
			bits |= 0o4000
		}
		return guest.Result{Stdout: fmt.Appendf(nil, "%o\n", bits)}
	})
	s.OnPrefix(lineList, func(_ context.Context, c guest.Command) guest.Result {
		return guest.Result{Stdout: []byte(strings.Join(s.list(strings.TrimPrefix(c.Line, lineList)), "\n") + "\n")}
	})
	s.OnPrefix(lineMany, func(_ context.Context, c guest.Command) guest.Result {
		return guest.Result{Stdout: []byte(strings.TrimPrefix(c.Line, "echo ") + "\n")}
	})
	return s
}

func (s *Script) list(dir string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.files {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names
}

func TestScriptKeepsTheContract(t *testing.T) {
	t.Parallel()
	RunConn(t, func(t *testing.T) Subject {
		t.Helper()
		s := shellScript()
		s.RequireScripted(t)
		return Subject{Dialer: s, Dir: "/tmp/suite", User: "nobody", Cut: func(*testing.T) { s.Cut() }}
	})
}

func bootID(t *testing.T, s *Script) string {
	t.Helper()
	return stdout(t, dial(t, Subject{Dialer: s}), "cat "+BootID)
}

func TestARebootChangesTheBootIDAndCutsConnections(t *testing.T) {
	t.Parallel()
	s := NewScript()
	s.On("systemctl reboot", func(context.Context, guest.Command) guest.Result {
		s.Reboot()
		return guest.Result{}
	})
	s.SetFile("/run/gone", 0o600, "x")
	s.SetFile("/etc/stays", 0o600, "x")
	before := bootID(t, s)
	conn := dial(t, Subject{Dialer: s})
	if _, err := conn.Run(t.Context(), guest.Command{Line: "systemctl reboot"}); !errors.Is(err, guest.ErrLost) {
		t.Errorf("the reboot said %v, want guest.ErrLost", err)
	}
	checkLost(t, Subject{Dir: "/tmp"}, conn)
	if after := bootID(t, s); after == before || len(after) != len("01234567-0123-0123-0123-0123456789ab\n") {
		t.Errorf("boot ids %q and %q", before, after)
	}
	if _, ok := s.File("/run/gone"); ok {
		t.Error("/run outlived the reboot")
	}
	if _, ok := s.File("/etc/stays"); !ok {
		t.Error("/etc did not outlive the reboot")
	}
}

func TestAGuestThatIsDownDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := NewScript()
	conn := dial(t, Subject{Dialer: s})
	s.Down()
	checkLost(t, Subject{Dir: "/tmp"}, conn)
	if _, err := s.Dial(t.Context()); !errors.Is(err, guest.ErrLost) {
		t.Errorf("Dial: %v, want guest.ErrLost", err)
	}
	s.Up()
	dial(t, Subject{Dialer: s})
	if s.Dials() != 3 {
		t.Errorf("%d dials, want 3", s.Dials())
	}
}

func TestACutEndsAHangingCommand(t *testing.T) {
	t.Parallel()
	s := NewScript()
	s.On("hang", func(ctx context.Context, c guest.Command) guest.Result {
		s.Cut()
		return Hangs()(ctx, c)
	})
	conn := dial(t, Subject{Dialer: s})
	if _, err := conn.Run(t.Context(), guest.Command{Line: "hang"}); !errors.Is(err, guest.ErrLost) {
		t.Errorf("Run: %v, want guest.ErrLost", err)
	}
}

func TestCommandsAreCountedAndTheLastScriptGoesFirst(t *testing.T) {
	t.Parallel()
	s := NewScript()
	s.OnPrefix("apt-get", Says("general"))
	s.On("apt-get update", Says("special"))
	conn := dial(t, Subject{Dialer: s})
	for line, want := range map[string]string{"apt-get update": "special", "apt-get install": "general"} {
		if got := stdout(t, conn, line); got != want {
			t.Errorf("%q said %q, want %q", line, got, want)
		}
	}
	if result := run(t, conn, guest.Command{Line: "what is this"}); result.ExitCode != 127 {
		t.Errorf("an unknown command exited with %d, want 127", result.ExitCode)
	}
	if s.Count("apt-get") != 2 || len(s.Commands()) != 3 || !slices.Equal(s.Unscripted(), []string{"what is this"}) {
		t.Errorf("counted %d of %v, unscripted %q", s.Count("apt-get"), s.Commands(), s.Unscripted())
	}
}
