package guesttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
)

// Subject is a guest that [RunConn] may use as it likes within the given directory.
type Subject struct {
	Dialer guest.Dialer
	// Dir is an existing directory in the guest.
	Dir string
	// User is somebody other than the administrator; "" leaves out what needs one.
	User string
	// Cut ends every connection at once; nil leaves out what needs it.
	Cut func(t *testing.T)
	// WithoutPorts is a guest whose ports cannot be reached, and WholeInput one whose commands begin when their input is
	// complete.
	WithoutPorts, WholeInput bool
}

// The command lines of the suite, which a scripted guest has to know.
const (
	lineStreams = "echo out; echo err >&2"
	lineExit    = "exit 3"
	lineSignal  = "kill -TERM $$"
	lineCount   = "wc -c"
	lineEcho    = "cat"
	lineQuotes  = `printf '%s' "it's \"quoted\" \\ \$HOME"`
	lineSleep   = "sleep 600"
	lineWhoAmI  = "id -un"
	lineMode    = "stat -c %a "    // and a path
	lineList    = "ls -A "         // and a directory
	lineMany    = "echo number "   // and a number
	lineGone    = "cat /nowhere/x" // exits with 1
)

// patience bounds what should not take long, even in an emulated guest.
const patience = time.Minute

// RunConn checks that a guest keeps the promises of [guest.Dialer], [guest.Conn] and [guest.Listener]. open is called once.
func RunConn(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	subject := open(t)
	conn := dial(t, subject)
	checks := map[string]func(t *testing.T, subject Subject, conn guest.Conn){
		"a command's streams are kept apart":                    checkStreams,
		"any exit status is a result":                           checkExit,
		"a command reads its input":                             checkStdin,
		"output goes to a writer instead":                       checkStdout,
		"input that fails cancels the command":                  checkBrokenStdin,
		"a cancelled command leaves the connection usable":      checkCancel,
		"an ended context starts nothing":                       checkEndedContext,
		"more commands at once than sshd has sessions":          checkMany,
		"commands run as another user":                          checkUser,
		"a file comes back as it was put":                       checkPutGet,
		"put replaces a file and its mode":                      checkReplace,
		"put makes missing directories":                         checkDirectories,
		"a put that fails leaves the old file and nothing else": checkBrokenPut,
		"a put whose content hangs ends with its context":       checkCancelledPut,
		"a missing file is told as such":                        checkMissing,
		"a refused port is not a lost connection":               checkRefused,
		"a closed connection is lost, another one works":        checkClose,
	}
	if !subject.WithoutPorts {
		checks["connections pass both ways through the guest"] = checkListenAndDial
		checks["a forwarded connection honours deadlines"] = checkDeadline
	}
	for name, check := range checks {
		t.Run(name, func(t *testing.T) { check(t, subject, conn) })
	}
	if subject.Cut != nil {
		t.Run("a cut ends what is running with a lost connection", func(t *testing.T) { checkCut(t, subject) })
	}
}

func dial(t *testing.T, subject Subject) guest.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := guest.Await(ctx, subject.Dialer, 100*time.Millisecond)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return conn
}

func run(t *testing.T, conn guest.Conn, command guest.Command) guest.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err := conn.Run(ctx, command)
	if err != nil {
		t.Fatalf("Run(%q): %v", command.Line, err)
	}
	return result
}

func stdout(t *testing.T, conn guest.Conn, line string) string {
	t.Helper()
	return string(run(t, conn, guest.Command{Line: line}).Stdout)
}

func checkStreams(t *testing.T, _ Subject, conn guest.Conn) {
	t.Helper()
	result := run(t, conn, guest.Command{Line: lineStreams})
	if string(result.Stdout) != "out\n" || string(result.Stderr) != "err\n" || result.Truncated {
		t.Errorf("%q gave %q and %q, truncated %v", lineStreams, result.Stdout, result.Stderr, result.Truncated)
	}
	if got, want := stdout(t, conn, lineQuotes), `it's "quoted" \ $HOME`; got != want {
		t.Errorf("the shell saw %q, want %q", got, want)
	}
}

func checkExit(t *testing.T, _ Subject, conn guest.Conn) {
	t.Helper()
	for line, want := range map[string]int{lineStreams: 0, lineExit: 3, lineGone: 1, lineSignal: 128 + 15} {
		if got := run(t, conn, guest.Command{Line: line}).ExitCode; got != want {
			t.Errorf("%q exited with %d, want %d", line, got, want)
		}
	}
}

func checkStdin(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	const size = 300_000 // more than a channel's window
	input := strings.NewReader(strings.Repeat("x", size))
	if got := strings.TrimSpace(string(run(t, conn, guest.Command{Line: lineCount, Stdin: input}).Stdout)); got != "300000" {
		t.Errorf("the command read %s bytes, want %d", got, size)
	}
	if subject.WholeInput {
		return
	}
	unread, end := io.Pipe()
	defer func() { _ = end.Close() }()
	if got := run(t, conn, guest.Command{Line: lineExit, Stdin: unread}).ExitCode; got != 3 {
		t.Errorf("a command that leaves its input unread exited with %d, want 3", got)
	}
}

func checkStdout(t *testing.T, _ Subject, conn guest.Conn) {
	t.Helper()
	var out bytes.Buffer
	result := run(t, conn, guest.Command{Line: lineStreams, Stdout: &out})
	if out.String() != "out\n" || len(result.Stdout) != 0 || string(result.Stderr) != "err\n" {
		t.Errorf("the writer got %q, the result %q and %q", out.String(), result.Stdout, result.Stderr)
	}
	full := errors.New("no space")
	if _, err := conn.Run(t.Context(), guest.Command{Line: lineStreams, Stdout: failing{full}}); !errors.Is(err, full) || errors.Is(err, guest.ErrLost) {
		t.Errorf("with a writer that fails: %v, want its error", err)
	}
}

// failing fails as a reader and as a writer.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func checkBrokenStdin(t *testing.T, _ Subject, conn guest.Conn) {
	t.Helper()
	broken := errors.New("broken input")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := conn.Run(ctx, guest.Command{Line: lineEcho, Stdin: failing{broken}})
	if !errors.Is(err, broken) || errors.Is(err, guest.ErrLost) {
		t.Errorf("Run: %v, want the input's error", err)
	}
}

func checkCancel(t *testing.T, _ Subject, conn guest.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := conn.Run(ctx, guest.Command{Line: lineSleep})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, guest.ErrLost) {
		t.Errorf("Run: %v, want the deadline alone", err)
	}
	if got := stdout(t, conn, lineMany+"1"); got != "number 1\n" {
		t.Errorf("the next command said %q", got)
	}
}

func checkEndedContext(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	why := errors.New("given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	_, runErr := conn.Run(ctx, guest.Command{Line: lineStreams})
	_, dialErr := conn.Dial(ctx, "tcp", "127.0.0.1:1")
	for act, err := range map[string]error{
		"Run": runErr, "Dial": dialErr,
		"Put": conn.Put(ctx, path.Join(subject.Dir, "never"), 0o600, strings.NewReader("x")),
		"Get": conn.Get(ctx, path.Join(subject.Dir, "never"), io.Discard),
	} {
		if !errors.Is(err, why) || errors.Is(err, guest.ErrLost) {
			t.Errorf("%s: %v, want the context's cause", act, err)
		}
	}
}

func checkMany(t *testing.T, _ Subject, conn guest.Conn) {
	t.Helper()
	var all sync.WaitGroup
	for number := range strings.FieldsSeq("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15") {
		all.Go(func() {
			result, err := conn.Run(t.Context(), guest.Command{Line: lineMany + number})
			if want := "number " + number + "\n"; err != nil || string(result.Stdout) != want {
				t.Errorf("command %s: %q, %v", number, result.Stdout, err)
			}
		})
	}
	all.Wait()
}

func checkUser(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	if subject.User == "" {
		return
	}
	result := run(t, conn, guest.Command{Line: lineWhoAmI, User: subject.User})
	if string(result.Stdout) != subject.User+"\n" {
		t.Errorf("ran as %q (%s), want %q", result.Stdout, result.Stderr, subject.User)
	}
}

func checkMissing(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	err := conn.Get(t.Context(), path.Join(subject.Dir, "no such file"), io.Discard)
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, guest.ErrLost) {
		t.Errorf("Get: %v, want fs.ErrNotExist", err)
	}
}

func checkClose(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	other := dial(t, subject)
	if err := other.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	checkLost(t, subject, other)
	if got := stdout(t, conn, lineMany+"2"); got != "number 2\n" {
		t.Errorf("closing one connection changed another: %q", got)
	}
}

// checkLost checks that everything tells that a connection is gone.
func checkLost(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	_, runErr := conn.Run(t.Context(), guest.Command{Line: lineStreams})
	_, dialErr := conn.Dial(t.Context(), "tcp", "127.0.0.1:1")
	results := map[string]error{
		"Run": runErr, "Dial": dialErr,
		"Put": conn.Put(t.Context(), path.Join(subject.Dir, "lost"), 0o600, strings.NewReader("x")),
		"Get": conn.Get(t.Context(), path.Join(subject.Dir, "lost"), io.Discard),
	}
	if listener, ok := conn.(guest.Listener); ok {
		_, results["Listen"] = listener.Listen(t.Context(), "127.0.0.1:0")
	}
	for act, err := range results {
		if !errors.Is(err, guest.ErrLost) {
			t.Errorf("%s on a connection that is gone: %v, want guest.ErrLost", act, err)
		}
	}
}

func checkCut(t *testing.T, subject Subject) {
	t.Helper()
	conn := dial(t, subject)
	started, begun := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := conn.Run(t.Context(), guest.Command{Line: "echo begun; " + lineSleep, Stdout: begun})
		done <- err
	}()
	if _, err := started.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, started) }()
	subject.Cut(t)
	if err := <-done; !errors.Is(err, guest.ErrLost) {
		t.Errorf("Run: %v, want guest.ErrLost", err)
	}
	checkLost(t, subject, conn)
	if got := stdout(t, dial(t, subject), lineMany+"3"); got != "number 3\n" {
		t.Errorf("a new connection said %q", got)
	}
}
