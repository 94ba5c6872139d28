package probe

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// fakeConn answers commands and remembers them.
type fakeConn struct {
	guest.Conn
	lines  []string
	stdin  []byte
	answer func(line string) (guest.Result, error)
}

func (c *fakeConn) Run(_ context.Context, command guest.Command) (guest.Result, error) {
	c.lines = append(c.lines, command.Line)
	if command.Stdin != nil {
		c.stdin, _ = io.ReadAll(command.Stdin) // it reads from memory
	}
	result, err := c.answer(command.Line)
	if command.Stdout != nil {
		if _, err := command.Stdout.Write(result.Stdout); err != nil {
			return guest.Result{}, err
		}
		result.Stdout = nil
	}
	return result, err
}

func says(exit int, stdout, stderr string) *fakeConn {
	return &fakeConn{answer: func(string) (guest.Result, error) {
		return guest.Result{ExitCode: exit, Stdout: []byte(stdout), Stderr: []byte(stderr)}, nil
	}}
}

var program = newBuild([]byte("a program"))

func TestInstallLeavesAProbeThatIsThere(t *testing.T) {
	conn := says(0, "", "")
	if err := program.install(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"test -x " + program.path()}, conn.lines); diff != "" {
		t.Error(diff)
	}
}

func TestInstallSendsTheProgramCompressed(t *testing.T) {
	conn := &fakeConn{}
	conn.answer = func(line string) (guest.Result, error) {
		if strings.HasPrefix(line, "test") {
			return guest.Result{ExitCode: 1}, nil
		}
		return guest.Result{}, nil
	}
	if err := program.install(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(conn.stdin))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || string(got) != "a program" {
		t.Errorf("sent %q, %v", got, err)
	}
}

func TestInstallTellsWhatTheGuestRefused(t *testing.T) {
	err := program.install(t.Context(), says(1, "", "mount: permission denied\n"))
	exit, ok := errors.AsType[*guest.ExitError](err)
	if !ok || !strings.Contains(exit.Error(), "permission denied") {
		t.Errorf("install() = %v, want the guest's words", err)
	}
}

func TestFactsAreCleanedOnTheHostToo(t *testing.T) {
	sent := protocol.Document{
		Probe: "1", BootID: "0b0e\x1b[2J", TakenAt: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		Facts: fact.NewSet(fact.Fact{Kind: "file", Name: "/etc/\x1b]0;x\a", Attributes: map[string]string{"mode": "", "text": "a\nb\r"}}),
		Notes: []protocol.Note{{Kind: "po\nrt", Error: "\x1b"}},
	}
	content, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	conn := says(0, string(content), "")
	got, err := program.facts(t.Context(), conn, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := protocol.Document{
		Probe: "1", BootID: `0b0e\x1b[2J`, TakenAt: sent.TakenAt,
		Facts: fact.NewSet(fact.Fact{Kind: "file", Name: `/etc/\x1b]0;x\x07`, Attributes: map[string]string{"text": "a\nb\\x0d"}}),
		Notes: []protocol.Note{{Kind: `po\x0art`, Error: `\x1b`}},
	}
	if diff := cmp.Diff(want, got.Document, cmp.AllowUnexported(fact.Set{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{program.path() + " facts"}, conn.lines); diff != "" {
		t.Error(diff)
	}
}

func TestSecretsAreHiddenInFacts(t *testing.T) {
	sent := protocol.Document{Facts: fact.NewSet(
		fact.Fact{Kind: "file", Name: "/etc/app.conf", Attributes: map[string]string{"text": "user = web\npassword = Hunter2\n"}},
		fact.Fact{Kind: "kernel", Name: "running", Attributes: map[string]string{"cmdline": "quiet api_token=Hunter2"}},
		fact.Fact{Kind: "mount", Name: "/srv", Attributes: map[string]string{"source": "https://web:Hunter2@dav.example.org/"}},
	)}
	content, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	got, err := program.facts(t.Context(), says(0, string(content), ""), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := fact.NewSet(
		fact.Fact{Kind: "file", Name: "/etc/app.conf", Attributes: map[string]string{"text": "user = web\npassword = [hidden]\n"}},
		fact.Fact{Kind: "kernel", Name: "running", Attributes: map[string]string{"cmdline": "quiet api_token=[hidden]"}},
		fact.Fact{Kind: "mount", Name: "/srv", Attributes: map[string]string{"source": "https://[hidden]@dav.example.org/"}},
	)
	if diff := cmp.Diff(want, got.Facts, cmp.AllowUnexported(fact.Set{})); diff != "" {
		t.Error(diff)
	}
}

func TestAnAnswerThatIsNotTheProbesIsTheGuestsFault(t *testing.T) {
	for name, conn := range map[string]*fakeConn{
		"no document":          says(0, "hello", ""),
		"half a document":      says(0, `{"facts":[`, ""),
		"two documents":        says(0, `{"facts":[]}{"facts":[]}`, ""),
		"more than it may say": {answer: func(string) (guest.Result, error) { return guest.Result{Truncated: true}, nil }},
	} {
		if _, err := program.facts(t.Context(), conn, nil, nil); !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: %v, want ErrAnswer", name, err)
		}
	}
	_, err := program.facts(t.Context(), says(protocol.ExitError, "", "patchlab-probe: no /proc\n"), nil, nil)
	if _, ok := errors.AsType[*guest.ExitError](err); !ok {
		t.Errorf("a probe that fails: %v, want an ExitError", err)
	}
}

func TestALostConnectionStaysOne(t *testing.T) {
	lost := &fakeConn{answer: func(string) (guest.Result, error) { return guest.Result{}, guest.ErrLost }}
	_, errFacts := program.facts(t.Context(), lost, nil, nil)
	_, errSettle := program.settle(t.Context(), lost, "settle --timeout 1m0s")
	_, errJob := program.runJob(t.Context(), lost, "a", 0, io.Discard)
	_, errID := BootID(t.Context(), lost)
	for _, err := range []error{program.install(t.Context(), lost), errFacts, errSettle, errJob, errID} {
		if !errors.Is(err, guest.ErrLost) {
			t.Errorf("%v, want ErrLost", err)
		}
	}
}

func TestSettleGivesTheStateCleaned(t *testing.T) {
	conn := says(0, `{"boot_id":"0b0e","state":"starting","jobs":[{"unit":"a\u001b.service","type":"start","state":"running"}],`+
		`"failed":["b\n.service"],"uptime":12.5}`, "")
	got, err := program.settle(t.Context(), conn, "settle --timeout 1m30s")
	if err != nil {
		t.Fatal(err)
	}
	want := Settled{
		BootID: "0b0e", State: "starting", UptimeSeconds: 12.5, Failed: []string{`b\x0a.service`},
		Jobs: []protocol.Job{{Unit: `a\x1b.service`, Type: "start", State: "running"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{program.path() + " settle --timeout 1m30s"}, conn.lines); diff != "" {
		t.Error(diff)
	}
}

func TestAJobsExitCodeIsToldFromTheProbesOwn(t *testing.T) {
	for _, c := range []struct {
		name   string
		conn   *fakeConn
		exit   int
		failed bool
		died   bool
	}{
		{"success", says(0, "log\n", ""), 0, false, false},
		{"the job fails", says(100, "log\n", ""), 100, false, false},
		{"the job exits as the probe would", says(protocol.ExitDied, "log\n", ""), protocol.ExitDied, false, false},
		{"the probe fails", says(protocol.ExitError, "log\n", "patchlab-probe: starting job a: no executable\n"), 0, true, false},
		{"the job died", says(protocol.ExitDied, "log\n", "patchlab-probe: following job a: the job died\n"), 0, true, true},
		{"there is no probe", says(127, "log\n", "sh: not found\n"), 0, true, false},
	} {
		var log bytes.Buffer
		exit, err := program.runJob(t.Context(), c.conn, "a", 17, &log)
		if exit != c.exit || (err != nil) != c.failed || errors.Is(err, ErrJobDied) != c.died || log.String() != "log\n" {
			t.Errorf("%s: %d, %v, log %q", c.name, exit, err, log.String())
		}
		if diff := cmp.Diff([]string{program.path() + " job run a --offset 17"}, c.conn.lines); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAJobsNameCannotBecomeACommand(t *testing.T) {
	conn := says(0, "", "")
	if _, err := program.runJob(t.Context(), conn, "a; reboot", 0, io.Discard); err == nil || len(conn.lines) > 0 {
		t.Errorf("err %v, ran %q", err, conn.lines)
	}
}

func TestAnEndlessLogIsCut(t *testing.T) {
	var log bytes.Buffer
	if _, err := program.runJob(t.Context(), says(0, "abcdef", ""), "a", maxLog-4, &log); err != nil || log.String() != "abcd" {
		t.Errorf("log %q, %v; want what there was room for", log.String(), err)
	}
}

func TestTheBootIDMustLookLikeOne(t *testing.T) {
	const id = "f14de4cc-9b49-427c-9231-af029fac22dd"
	if got, err := BootID(t.Context(), says(0, id+"\n", "")); err != nil || got != id {
		t.Errorf("BootID() = %q, %v", got, err)
	}
	for _, conn := range []*fakeConn{says(0, "", ""), says(0, strings.Repeat("x", 100), ""), says(1, id, "")} {
		if got, err := BootID(t.Context(), conn); err == nil {
			t.Errorf("BootID() = %q, want an error", got)
		}
	}
}

func TestTwoProbesHaveTwoNamesInTheGuest(t *testing.T) {
	other := newBuild([]byte("another program"))
	if program.path() == other.path() || !strings.HasPrefix(program.path(), protocol.Dir+"/probe-") {
		t.Errorf("paths %s and %s", program.path(), other.path())
	}
}
