package probe

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// guestEnd answers one question with what it is told to, and hangs up.
func guestEnd(t *testing.T, answer func(nonce string) string) *Waiting {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	go func() {
		buffer := make([]byte, protocol.MaxQuestion)
		n := 0
		for !bytes.Contains(buffer[:n], []byte("}\n")) {
			got, err := there.Read(buffer[n:])
			if n += got; err != nil {
				return
			}
		}
		_, rest, _ := strings.Cut(string(buffer[:n]), `"nonce":"`)
		nonce, _, _ := strings.Cut(rest, `"`)
		_, _ = there.Write([]byte(answer(nonce)))
		_ = there.Close()
	}()
	return NewWaiting(here)
}

func answerOf(exit int, stdout, stderr string) func(string) string {
	return func(nonce string) string {
		return protocol.AnswerHeader(nonce, exit, len(stdout), len(stderr)) + stdout + stderr
	}
}

func TestAWaitingProbeAnswersLikeACommand(t *testing.T) {
	t.Parallel()
	w := guestEnd(t, func(nonce string) string {
		return "the end of an answer to nobody\npatchlab-answer OTHER 0 2 0\nxy" + answerOf(3, "out", "err")(nonce)
	})
	result, err := w.Run(t.Context(), guest.Command{Line: program.path() + " facts --only unit"})
	if err != nil || result.ExitCode != 3 || string(result.Stdout) != "out" || string(result.Stderr) != "err" {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestAWaitingProbeThatGoesIsLost(t *testing.T) {
	t.Parallel()
	for what, answer := range map[string]func(string) string{
		"silent":         func(string) string { return "" },
		"half an answer": func(nonce string) string { return protocol.AnswerHeader(nonce, 0, 100, 0) + "half" },
		"another's":      func(string) string { return answerOf(0, "x", "")("NONCE") },
		"a size that is no number": func(nonce string) string {
			return "patchlab-answer " + nonce + " 0 99999999999999999999 0\n"
		},
		"more than it may say": func(nonce string) string { return protocol.AnswerHeader(nonce, 0, protocol.MaxDocument+1, 0) },
	} {
		w := guestEnd(t, answer)
		command := guest.Command{Line: program.path() + " facts"}
		if _, err := w.Run(t.Context(), command); !errors.Is(err, guest.ErrLost) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := w.Run(t.Context(), command); !errors.Is(err, guest.ErrLost) {
			t.Errorf("%s, asked again: %v", what, err)
		}
	}
}

func TestAWaitingProbeIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	stuck := errors.New("enough")
	w := guestEnd(t, func(string) string { cancel(stuck); select {} })
	if _, err := w.Run(ctx, guest.Command{Line: program.path() + " facts"}); !errors.Is(err, stuck) || !errors.Is(err, guest.ErrLost) {
		t.Errorf("%v", err)
	}
}

func TestAWaitingProbeRunsNothingElse(t *testing.T) {
	t.Parallel()
	w := NewWaiting(nil) // it is not even asked
	for _, line := range []string{"reboot", "", "/bin/sh -c true", program.path()} {
		if _, err := w.Run(t.Context(), guest.Command{Line: line}); err == nil || errors.Is(err, guest.ErrLost) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// FuzzAnswerHeader holds the host to what it promises of anything that comes through the channel: sizes that it can bear.
func FuzzAnswerHeader(f *testing.F) {
	f.Add("patchlab-answer N 0 10 0")
	f.Add("patchlab-answer N -1 -1 99999999999")
	f.Fuzz(func(t *testing.T, line string) {
		exit, stdout, stderr, ok := protocol.ParseAnswerHeader(line, "N")
		if !ok && exit+stdout+stderr != 0 || exit < 0 || stdout < 0 || stderr < 0 || stdout > protocol.MaxDocument || stderr > protocol.MaxDocument {
			t.Errorf("%q is %d, %d, %d, %v", line, exit, stdout, stderr, ok)
		}
	})
}
