package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// port is a channel to a host that says some things, is away in between, and then hangs up for good.
type port struct {
	says    []string
	answers bytes.Buffer
	end     error
}

func (p *port) Read(buffer []byte) (int, error) {
	if len(p.says) == 0 {
		return 0, p.end
	}
	next := p.says[0]
	p.says = p.says[1:]
	if next == "" {
		return 0, io.EOF // nobody is there for the moment
	}
	return copy(buffer, next), nil
}

func (p *port) Write(content []byte) (int, error) { return p.answers.Write(content) }

func TestTheWaitingProbeAnswersWhatIsAQuestion(t *testing.T) {
	t.Parallel()
	over := errors.New("the port is gone")
	p := &port{end: over, says: []string{
		`","arguments":["version"]}` + "\n", "", "\n" + `{"nonce":"A","argu`, `ments":["version"]}` + "\n",
		strings.Repeat("x", protocol.MaxQuestion), strings.Repeat("x", protocol.MaxQuestion), "\n",
		`{"nonce":"B","arguments":["wait"]}` + "\n", `{"nonce":"C"}` + "\n", `{"nonce":"D","arguments":["nonsense"]}` + "\n",
	}}
	if err := answerAll(t.Context(), p, run); !errors.Is(err, over) {
		t.Errorf("it ended with %v", err)
	}
	got := p.answers.String()
	if want := protocol.AnswerHeader("A", 0, 2, 0) + protocol.Version + "\n"; !strings.HasPrefix(got, want) {
		t.Errorf("answers are %q, want %q first", got, want)
	}
	for _, refused := range []string{"B", "D"} {
		if !strings.Contains(got, "patchlab-answer "+refused+" 2 ") {
			t.Errorf("no refusal of %s in %q", refused, got)
		}
	}
	if strings.Contains(got, "answer C") {
		t.Errorf("something that is no question is answered: %q", got)
	}
}

func TestTheWaitingProbeEndsWhenItIsTold(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := answerAll(ctx, &port{end: io.EOF}, run); err != nil {
		t.Error(err)
	}
}

func TestLoginsAreCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"1", "1.ref", "c2", "c2.ref"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := logins(dir); got != 2 {
		t.Errorf("%d logins, want 2", got)
	}
	if got := logins(filepath.Join(dir, "none")); got != 0 {
		t.Errorf("%d logins without a login manager", got)
	}
}

func TestAClockIsNotSetToNothing(t *testing.T) {
	t.Parallel()
	for _, arguments := range [][]string{nil, {"--set", "0"}, {"--set", "-5"}, {"--set", "noon"}} {
		if err := setClock(arguments); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", arguments, err)
		}
	}
}
