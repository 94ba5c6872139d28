package agentguest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/commandlog"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/wait"
)

const (
	// outputMost bounds what is kept of each output of a command, in bytes. It is less than [guest.MaxOutput], for until it is
	// fetched it lies in the guest's memory.
	outputMost = 16 << 20
	// inlineMost is how much output, in bytes, comes with the answer that the command has ended; more is fetched as files.
	inlineMost = 32 << 10
	// pollInterval is how often is asked whether a command has ended. Each question costs an emulated guest some 20 ms.
	pollInterval = 250 * time.Millisecond
	// silenceMost is how long the agent may be silent while a command runs before it counts as lost: an emulated guest that
	// is very busy missed libvirt's five seconds before.
	silenceMost = 45 * time.Second
)

// mark begins the line in which [around] tells how the command ended.
const mark = "patchlab"

// around is the script around a command. It keeps the outputs apart and bounded, for the agent itself keeps all of them in
// memory and hands them out in one piece that libvirt refuses. Its arguments: a directory that it makes, the bound, the size
// up to which the outputs come with the answer, the user or nothing, the command line. It is sparing with programs: each costs
// an emulated guest a tenth of a second.
const around = `d=$1 most=$2 inline=$3 user=$4 line=$5
test -d "${d%/*}" || mkdir -p -m 711 "${d%/*/*}"
mkdir -p -m 700 "${d%/*}" "$d" && echo $$ >"$d/pid" || exit 125
test ! -e "$d/in" || exec <"$d/in"
export HOME="${HOME:-/root}"; cd "$HOME" 2>/dev/null || cd /
set -- sh -c "$line"
test -z "$user" || set -- runuser -u "$user" -- "$@"
keep() { head -c "$most" >"$1"; cat >/dev/null; }
{ { "$@" 2>&1 1>&3 3>&-; echo $? >"$d/code"; } | keep "$d/err"; } 3>&1 | keep "$d/out"
read -r code <"$d/code"
out=0 err=0
test ! -s "$d/out" || out=$(wc -c <"$d/out")
test ! -s "$d/err" || err=$(wc -c <"$d/err")
echo ` + mark + ` $code $out $err
if test $((out + err)) -le "$inline"; then
	test ! -s "$d/out" || cat "$d/out"
	test ! -s "$d/err" || cat "$d/err" >&2
	rm -rf -- "$d"
fi
exit 0`

// Run executes a command line with /bin/sh. Its whole input is read before it begins, and its output comes when it has ended.
// When ctx ends, the command's process group is sent SIGTERM and forgotten.
func (c *Conn) Run(ctx context.Context, command guest.Command) (guest.Result, error) {
	start := time.Now()
	result, err := c.run(ctx, command)
	what := command.Line
	if command.User != "" {
		what = command.User + ": " + what
	}
	c.log.Add(start, fmt.Sprintf("exit %d", result.ExitCode), "agent: "+what, err)
	return result, err
}

func (c *Conn) run(ctx context.Context, command guest.Command) (guest.Result, error) {
	act := fmt.Sprintf("running %q over the guest agent", commandlog.Quote(command.Line, 200))
	if err := c.ready(ctx, act); err != nil {
		return guest.Result{}, err
	}
	e := execution{conn: c, command: command, dir: path.Join(c.dir, rand.Text()[:12])}
	ended, err := e.perform(ctx)
	if err != nil {
		e.abandon(ctx)
		return guest.Result{}, c.fault(ctx, act, err)
	}
	result := guest.Result{
		ExitCode: ended.code, Stdout: ended.stdout, Stderr: ended.stderr,
		Truncated: ended.outSize > outputMost || ended.errSize > outputMost,
	}
	if command.Stdout != nil {
		result.Stdout = nil
		if _, err := command.Stdout.Write(ended.stdout); err != nil {
			return guest.Result{}, fmt.Errorf("%s: keeping its output: %w", act, err)
		}
	}
	return result, nil
}

// execution is one command in the guest.
type execution struct {
	conn    *Conn
	command guest.Command
	dir     string // in the guest; there is one as long as there is anything in it
	begun   bool
}

func (e *execution) perform(ctx context.Context) (outcome, error) {
	input, err := e.input(ctx)
	if err != nil {
		return outcome{}, err
	}
	e.begun = true
	s, err := e.conn.perform(ctx, script(around, e.dir, strconv.Itoa(outputMost+1), strconv.Itoa(inlineMost),
		e.command.User, e.command.Line), input)
	if err != nil {
		return outcome{}, err
	}
	if s.code > 128 { // killed together with the script around it
		return outcome{code: s.code}, nil
	}
	if s.code != 0 {
		return outcome{}, fmt.Errorf("the guest cannot keep its output in %s: %w", e.dir, complaint(s))
	}
	o, err := parseOutcome(s, outputMost)
	if err != nil || !o.kept {
		return o, err
	}
	if o.stdout, err = e.fetch(ctx, "out", o.outSize); err != nil {
		return o, err
	}
	if o.stderr, err = e.fetch(ctx, "err", o.errSize); err != nil {
		return o, err
	}
	return o, e.conn.must(ctx, `rm -rf -- "$1"`, e.dir)
}

// input makes the command's input ready: a short one goes along with the command, a longer one is put beside it first.
func (e *execution) input(ctx context.Context) ([]byte, error) {
	if e.command.Stdin == nil {
		return nil, nil
	}
	first := make([]byte, inlineMost+1)
	n, err := readFull(ctx, e.command.Stdin, first)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading its input: %w", err)
	case n <= inlineMost:
		return first[:n], nil
	}
	e.begun = true
	if err := e.conn.must(ctx, `mkdir -p -m 711 "${1%/*/*}" && mkdir -p -m 700 "${1%/*}" "$1" && : >"$1/in"`, e.dir); err != nil {
		return nil, fmt.Errorf("passing on its input: %w", err)
	}
	_, err = e.conn.upload(ctx, path.Join(e.dir, "in"), io.MultiReader(bytes.NewReader(first[:n]), e.command.Stdin))
	if err != nil {
		return nil, fmt.Errorf("passing on its input: %w", err)
	}
	return nil, nil
}

// fetch reads one of the outputs that are too long for an answer.
func (e *execution) fetch(ctx context.Context, name string, size int64) ([]byte, error) {
	var content bytes.Buffer
	if _, err := e.conn.download(ctx, path.Join(e.dir, name), &content, size); err != nil {
		return nil, fmt.Errorf("fetching its output: %w", err)
	}
	if int64(content.Len()) != size {
		return nil, fmt.Errorf("fetching its output: %w: %d bytes instead of %d", ErrAnswer, content.Len(), size)
	}
	return content.Bytes()[:min(size, outputMost)], nil
}

// abandonWait bounds the end of an abandoned command.
const abandonWait = 15 * time.Second

// abandon terminates the command, if it has begun, and takes away what it left. Nothing waits for it.
func (e *execution) abandon(ctx context.Context) {
	if !e.begun || e.conn.ready(context.WithoutCancel(ctx), "") != nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWait)
		defer cancel()
		_ = e.conn.must(ctx, `test ! -e "$1/pid" || kill -s TERM -- "-$(cat "$1/pid")"; rm -rf -- "$1"`, e.dir)
	}()
}

// script is the command line that runs a script in a session, and so a process group, of its own.
func script(text string, arguments ...string) []string {
	return append([]string{"setsid", "--wait", "sh", "-c", text, "patchlab"}, arguments...)
}

// must runs a short script that has to exit with 0.
func (c *Conn) must(ctx context.Context, text string, arguments ...string) error {
	s, err := c.perform(ctx, script(text, arguments...), nil)
	if err == nil && s.code != 0 {
		err = complaint(s)
	}
	return err
}

func complaint(s status) error {
	return (&guest.ExitError{Command: "sh", Result: guest.Result{ExitCode: s.code, Stdout: s.stdout, Stderr: s.stderr}})
}

// errForgotten means that the agent knows nothing of a program that it started: the guest has booted since, or its agent was
// started anew.
var errForgotten = errors.New("the guest agent has forgotten the command")

// perform starts a program and waits for its end.
func (c *Conn) perform(ctx context.Context, argv []string, input []byte) (status, error) {
	pid, err := c.agent.exec(ctx, argv, input)
	if err != nil {
		return status{}, err
	}
	var ended status
	heard := time.Now()
	err = wait.Until(ctx, "the command's end", pollInterval, func(ctx context.Context) (bool, error) {
		s, err := c.agent.status(ctx, pid)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case errors.Is(err, hypervisor.ErrNoAgent) && time.Since(heard) < silenceMost:
			return false, nil
		case isRefusal(err):
			return false, fmt.Errorf("%w: %w", errForgotten, err)
		case err != nil:
			return false, err
		}
		heard, ended = time.Now(), s
		return s.exited, nil
	})
	return ended, err
}
