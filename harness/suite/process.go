package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/patchlab/patchlab/harness/handoff"
)

const (
	// maxLog bounds what is kept of a suite's output. The built-in suites write some 10 KB.
	maxLog = 8 << 20
	// grace is what a suite gets to write its report after it was asked to end. ginkgo itself waits one second for
	// the interrupted spec.
	grace = 5 * time.Second
)

// process is one run of a suite.
type process struct {
	title   string // for errors: "the suites of baseline"
	suite   string // the name of a compiled suite
	program string
	args    []string
	dir     string
	env     []string
	files   string // prefix of the evidence files
}

// run starts the process and waits for its end. It is asked to end with ctx, and then killed together with all that it
// has started.
func (p process) run(ctx context.Context, handoffFile string) (err error) {
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	command := exec.CommandContext(ctx, p.program, p.args...)
	command.Dir = p.dir
	command.Env = append(append(os.Environ(), p.env...), handoff.Env+"="+handoffFile)
	output := &bounded{to: log, left: maxLog}
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = grace

	// The kernel sends Pdeathsig when the thread that started the child ends, not the process: keep the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.program, err)
	}
	err = command.Wait()
	// What the suite has started must not outlive it. Mostly there is nothing left to kill.
	if killErr := syscall.Kill(-command.Process.Pid, syscall.SIGKILL); killErr != nil && !errors.Is(killErr, syscall.ESRCH) {
		err = errors.Join(err, fmt.Errorf("ending what %s started: %w", p.program, killErr))
	}
	return err
}

func (p process) logFile() string { return p.files + ".log" }

// lastWords quotes the end of the log, to follow an error's text.
func (p process) lastWords() string {
	const most = 2 << 10
	content, err := os.ReadFile(p.logFile())
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(content[max(0, len(content)-most):])), "\n")
	lines = lines[max(0, len(lines)-5):]
	text := clean(strings.Join(lines, "\n"))
	if text == "" {
		return fmt.Sprintf("; it wrote nothing to %s", p.logFile())
	}
	return fmt.Sprintf("; the end of %s:\n%s", p.logFile(), text)
}

// bounded passes on what fits, and drops the rest silently: a flood must not end the suite.
type bounded struct {
	to   io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left > 0 {
		part := p[:min(len(p), b.left)]
		n, err := b.to.Write(part)
		b.left -= n
		if err != nil {
			return n, err
		}
		if b.left == 0 {
			_, err = io.WriteString(b.to, "\n(more was dropped)\n")
		}
		if err != nil {
			return n, err
		}
	}
	return len(p), nil
}
