package agentguest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// machine plays the guest agent on this very machine, as qemu-ga 7.2 does: programs run here as the current user, files are
// this machine's files.
type machine struct {
	mu       sync.Mutex
	gone     bool // nobody answers
	disabled string
	mangle   func(name string, answer []byte) []byte // a hostile guest's last word
	programs map[int]*program
	files    map[int64]*os.File
	next     int64
	calls    map[string]int
	longest  int // command
}

type program struct {
	command *exec.Cmd
	out     bytes.Buffer
	err     bytes.Buffer
	ended   chan struct{}
}

func newMachine(tb testing.TB) *machine {
	tb.Helper()
	m := &machine{
		programs: map[int]*program{}, files: map[int64]*os.File{}, next: 1000, calls: map[string]int{},
		mangle: func(_ string, answer []byte) []byte { return answer },
	}
	tb.TempDir() // cleaned up in reverse order: the programs end before the directories go into which they write
	tb.Cleanup(m.reboot)
	return m
}

// reboot ends everything and forgets it.
func (m *machine) reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for pid, p := range m.programs {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may not have come as far as its own process group
		<-p.ended
	}
	for _, f := range m.files {
		_ = f.Close()
	}
	clear(m.programs)
	clear(m.files)
}

func (m *machine) set(gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = gone
}

type arguments struct {
	Path   string   `json:"path"`
	Arg    []string `json:"arg"`
	Input  []byte   `json:"input-data"`
	PID    int      `json:"pid"`
	Mode   string   `json:"mode"`
	Handle int64    `json:"handle"`
	Count  int      `json:"count"`
	Data   []byte   `json:"buf-b64"`
}

func (m *machine) CallAgent(ctx context.Context, command []byte) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", hypervisor.ErrNoAgent, context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return nil, fmt.Errorf("asking the machine: %w", hypervisor.ErrNoAgent)
	}
	var asked struct {
		Execute   string    `json:"execute"`
		Arguments arguments `json:"arguments"`
	}
	if err := json.Unmarshal(command, &asked); err != nil {
		return nil, err
	}
	m.calls[asked.Execute]++
	m.longest = max(m.longest, len(command))
	value, err := m.answer(asked.Execute, asked.Arguments)
	if err != nil {
		return nil, &hypervisor.AgentError{Class: "GenericError", Description: err.Error()}
	}
	answer, err := json.Marshal(map[string]any{"return": value})
	return m.mangle(asked.Execute, answer), err
}

func (m *machine) answer(name string, a arguments) (any, error) {
	switch name {
	case "guest-info":
		return m.info(), nil
	case "guest-exec":
		return m.start(a)
	case "guest-exec-status":
		return m.status(a.PID)
	case "guest-file-open":
		return m.open(a)
	}
	file, ok := m.files[a.Handle]
	if !ok {
		return nil, fmt.Errorf("handle '%d' has not been found", a.Handle)
	}
	switch name {
	case "guest-file-read":
		content := make([]byte, a.Count)
		n, err := file.Read(content)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return map[string]any{"count": n, "buf-b64": content[:n], "eof": n < a.Count}, nil
	case "guest-file-write":
		n, err := file.Write(a.Data)
		return map[string]any{"count": n, "eof": false}, err
	case "guest-file-close":
		delete(m.files, a.Handle)
		return struct{}{}, file.Close()
	}
	return nil, errors.New("unknown command")
}

func (m *machine) info() any {
	type command struct {
		Name    string `json:"name"`
		Enabled bool   `json:"enabled"`
	}
	var commands []command
	for _, name := range []string{
		"guest-ping", "guest-exec", "guest-exec-status", "guest-file-open", "guest-file-read", "guest-file-write",
		"guest-file-close",
	} {
		commands = append(commands, command{name, name != m.disabled})
	}
	return map[string]any{"version": "7.2.22", "supported_commands": commands}
}

func (m *machine) start(a arguments) (any, error) {
	p := &program{command: exec.Command(a.Path, a.Arg...), ended: make(chan struct{})}
	if a.Input != nil {
		p.command.Stdin = bytes.NewReader(a.Input)
	}
	p.command.Stdout, p.command.Stderr = &p.out, &p.err
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.command.Wait()
		close(p.ended)
	}()
	m.programs[p.command.Process.Pid] = p
	return map[string]any{"pid": p.command.Process.Pid}, nil
}

func (m *machine) status(pid int) (any, error) {
	p, ok := m.programs[pid]
	if !ok {
		return nil, fmt.Errorf("PID %d does not exist", pid)
	}
	select {
	case <-p.ended:
	default:
		return map[string]any{"exited": false}, nil
	}
	delete(m.programs, pid)
	told := map[string]any{"exited": true}
	if ended, ok := p.command.ProcessState.Sys().(syscall.WaitStatus); ok && ended.Signaled() {
		told["signal"] = int(ended.Signal())
	} else {
		told["exitcode"] = p.command.ProcessState.ExitCode()
	}
	if p.out.Len() > 0 {
		told["out-data"] = p.out.Bytes()
	}
	if p.err.Len() > 0 {
		told["err-data"] = p.err.Bytes()
	}
	return told, nil
}

func (m *machine) open(a arguments) (any, error) {
	flags := map[string]int{"r": os.O_RDONLY, "w": os.O_WRONLY | os.O_TRUNC}[a.Mode]
	file, err := os.OpenFile(a.Path, flags, 0)
	if err != nil {
		return nil, fmt.Errorf("failed to open file '%s' (mode: '%s')", a.Path, a.Mode) // why, in the guest's language
	}
	m.next++
	m.files[m.next] = file
	return m.next, nil
}
