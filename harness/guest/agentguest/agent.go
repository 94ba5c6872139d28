package agentguest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/patchlab/patchlab/harness/guest/commandlog"
	"github.com/patchlab/patchlab/harness/hypervisor"
)

// agent speaks the guest agent's protocol, one command at a time: more at once would only wait in the hypervisor.
type agent struct {
	caller hypervisor.AgentCaller
	turn   chan struct{}
}

func newAgent(caller hypervisor.AgentCaller) *agent {
	return &agent{caller: caller, turn: make(chan struct{}, 1)}
}

// call makes one command of a name and its arguments, and returns the answer as it came.
func (a *agent) call(ctx context.Context, name string, arguments map[string]any) ([]byte, error) {
	command, err := json.Marshal(struct {
		Execute   string         `json:"execute"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}{name, arguments})
	if err != nil {
		return nil, fmt.Errorf("making the command %s: %w", name, err)
	}
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	answer, err := a.caller.CallAgent(ctx, command)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, sanitised{err})
	}
	return answer, nil
}

// canRun asks what the agent is allowed to do: some distributions forbid it to run commands.
func (a *agent) canRun(ctx context.Context) error {
	answer, err := a.call(ctx, "guest-info", nil)
	if err != nil {
		return err
	}
	return checkInfo(answer)
}

// exec starts a program and returns its process id. The program reads input, if there is any.
func (a *agent) exec(ctx context.Context, argv []string, input []byte) (int, error) {
	for _, argument := range argv {
		if !utf8.ValidString(argument) { // JSON cannot carry it, and would change it silently
			return 0, fmt.Errorf("guest-exec: %s is no UTF-8", commandlog.Quote(argument, 200))
		}
	}
	arguments := map[string]any{"path": argv[0], "arg": argv[1:], "capture-output": true}
	if input != nil {
		arguments["input-data"] = input // []byte is base64 in JSON
	}
	answer, err := a.call(ctx, "guest-exec", arguments)
	if err != nil {
		return 0, err
	}
	return parsePID(answer)
}

// status asks how a program does. Of one that has ended the agent tells it once.
func (a *agent) status(ctx context.Context, pid int) (status, error) {
	answer, err := a.call(ctx, "guest-exec-status", map[string]any{"pid": pid})
	if err != nil {
		return status{}, err
	}
	return parseStatus(answer)
}

// open opens a file, with a mode of fopen(3), and returns its handle.
func (a *agent) open(ctx context.Context, path, mode string) (int64, error) {
	if !utf8.ValidString(path) {
		return 0, fmt.Errorf("guest-file-open: %s is no UTF-8", commandlog.Quote(path, 200))
	}
	answer, err := a.call(ctx, "guest-file-open", map[string]any{"path": path, "mode": mode})
	if err != nil {
		return 0, err
	}
	return parseHandle(answer)
}

// read reads at most most bytes at an offset. It returns true with the file's last bytes.
func (a *agent) read(ctx context.Context, handle int64, most int) ([]byte, bool, error) {
	answer, err := a.call(ctx, "guest-file-read", map[string]any{"handle": handle, "count": most})
	if err != nil {
		return nil, false, err
	}
	return parseRead(answer, most)
}

// write writes all of some bytes.
func (a *agent) write(ctx context.Context, handle int64, content []byte) error {
	answer, err := a.call(ctx, "guest-file-write", map[string]any{"handle": handle, "buf-b64": content})
	if err != nil {
		return err
	}
	return checkWritten(answer, len(content))
}

// closeFile gives a handle back; what was written is in the file then.
func (a *agent) closeFile(ctx context.Context, handle int64) error {
	_, err := a.call(ctx, "guest-file-close", map[string]any{"handle": handle})
	return err
}

// sanitised bounds and quotes what a hostile guest could put into an error's text.
type sanitised struct{ error }

// Error returns one printable line.
func (s sanitised) Error() string { return commandlog.Quote(s.error.Error(), 300) }

// Unwrap returns the error as it was.
func (s sanitised) Unwrap() error { return s.error }

func isRefusal(err error) bool {
	_, refused := errors.AsType[*hypervisor.AgentError](err)
	return refused
}
