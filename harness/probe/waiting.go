package probe

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// WaitChannel names the serial port at which a waiting probe is asked.
const WaitChannel = protocol.WaitChannel

// StartWaiting starts a probe in the guest that waits at the port for what [Waiting] asks. The probe must be installed. It ends
// with the boot.
func StartWaiting(ctx context.Context, conn guest.Conn) error {
	b, err := current()
	if err != nil {
		return err
	}
	// Type=exec: it returns when the probe runs, or says that it does not.
	command := guest.Command{Line: fmt.Sprintf(
		"test -c %s && systemd-run --quiet --collect --property=Type=exec --property=OOMScoreAdjust=-500 --unit=%s %s wait",
		protocol.WaitPort, protocol.WaitUnit, b.path())}
	result, err := conn.Run(ctx, command)
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		return fmt.Errorf("starting the waiting probe: %w", err)
	}
	return nil
}

// Waiting is a probe that waits in the guest already, at the other end of a channel: a question costs neither a connection nor
// the start of a program. It runs the probe's subcommands and nothing else.
type Waiting struct {
	mu      sync.Mutex // one question at a time
	channel net.Conn
	answers *bufio.Reader
	broken  error // what has ended it
}

// NewWaiting takes a connected channel, and closes it in the end.
func NewWaiting(channel net.Conn) *Waiting {
	return &Waiting{channel: channel, answers: bufio.NewReader(channel)}
}

// Close gives up the channel. The probe waits on.
func (w *Waiting) Close() error { return w.channel.Close() }

// Run has the waiting probe do what a command line of the probe says. It returns an error that wraps [guest.ErrLost] when it does
// not answer, for good: nobody knows what comes next in the channel.
func (w *Waiting) Run(ctx context.Context, command guest.Command) (guest.Result, error) {
	act := fmt.Sprintf("asking the waiting probe %q", command.Line)
	words := strings.Fields(command.Line)
	if len(words) < 2 || !strings.HasPrefix(words[0], protocol.Dir+"/probe-") || command.Stdin != nil {
		return guest.Result{}, fmt.Errorf("%s: it does nothing else than the probe does", act)
	}
	result, err := w.Ask(ctx, words[1:]...)
	if err != nil {
		return guest.Result{}, err
	}
	if command.Stdout != nil {
		if _, err := command.Stdout.Write(result.Stdout); err != nil {
			return guest.Result{}, fmt.Errorf("%s: %w", act, err)
		}
		result.Stdout = nil
	}
	return result, nil
}

// Ask has the waiting probe do one subcommand, as [Waiting.Run] does.
func (w *Waiting) Ask(ctx context.Context, arguments ...string) (guest.Result, error) {
	act := fmt.Sprintf("asking the waiting probe %q", arguments)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return guest.Result{}, fmt.Errorf("%s: %w: %w", act, guest.ErrLost, w.broken)
	}
	stop := context.AfterFunc(ctx, func() { _ = w.channel.Close() })
	defer stop()
	result, err := w.ask(arguments)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		w.broken = err
		return guest.Result{}, errors.Join(fmt.Errorf("%s: %w: %w", act, guest.ErrLost, err), w.channel.Close())
	}
	return result, nil
}

// Answers tells whether the probe is still there: nobody hears it when somebody in the guest ends it.
func (w *Waiting) Answers(ctx context.Context) bool {
	b, err := current()
	if err != nil {
		return false
	}
	result, err := w.Run(ctx, guest.Command{Line: b.path() + " version"})
	return err == nil && result.ExitCode == 0
}

// mostNoise bounds what is skipped before an answer: the rest of an earlier one, to which nobody listened.
const mostNoise = protocol.MaxDocument

func (w *Waiting) ask(arguments []string) (guest.Result, error) {
	question := protocol.Question{Nonce: rand.Text(), Arguments: arguments}
	line, err := json.Marshal(question)
	if err != nil {
		return guest.Result{}, err
	}
	if len(line) >= protocol.MaxQuestion {
		return guest.Result{}, fmt.Errorf("a question of %d bytes is too long", len(line))
	}
	// The line break ends what an earlier question may have left half said.
	if _, err := w.channel.Write(append([]byte("\n"), append(line, '\n')...)); err != nil {
		return guest.Result{}, err
	}
	for skipped := 0; skipped <= mostNoise; {
		line, err := w.answers.ReadSlice('\n')
		skipped += len(line)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return guest.Result{}, err
		}
		exit, stdout, stderr, ok := protocol.ParseAnswerHeader(strings.TrimSuffix(string(line), "\n"), question.Nonce)
		if !ok {
			continue
		}
		result := guest.Result{ExitCode: exit, Stdout: make([]byte, stdout), Stderr: make([]byte, stderr)}
		if _, err := io.ReadFull(w.answers, result.Stdout); err != nil {
			return guest.Result{}, err
		}
		_, err = io.ReadFull(w.answers, result.Stderr)
		return result, err
	}
	return guest.Result{}, fmt.Errorf("%w: it talks without end", ErrAnswer)
}
