package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/patchlab/patchlab/harness/printable"
)

// Programs are the paths of what a person works with.
type Programs struct {
	Virsh, SSH, SCP, QEMUImg string
}

// FindPrograms looks on PATH. Of what is missing it names all, with the Debian packages.
func FindPrograms() (Programs, error) {
	var found Programs
	var missing []error
	for _, one := range []struct {
		path         *string
		name, origin string
	}{
		{&found.Virsh, "virsh", "libvirt-clients"},
		{&found.SSH, "ssh", "openssh-client"},
		{&found.SCP, "scp", "openssh-client"},
		{&found.QEMUImg, "qemu-img", "qemu-utils"},
	} {
		path, err := exec.LookPath(one.name)
		if err != nil {
			missing = append(missing, fmt.Errorf("%s is not installed, with which it is done by hand: apt-get install %s", one.name, one.origin))
		}
		*one.path = path
	}
	return found, errors.Join(missing...)
}

// Versions asks what the programs call themselves.
func (p Programs) Versions(ctx context.Context) (ssh, virsh string) {
	first := func(path, argument string) string {
		said, err := exec.CommandContext(ctx, path, argument).CombinedOutput()
		if err != nil {
			return "unknown"
		}
		text, _, _ := strings.Cut(string(said), "\n")
		return printable.Line(text, 200)
	}
	return first(p.SSH, "-V"), first(p.Virsh, "--version")
}

// shell calls programs as a person at a terminal would, and notes each call.
type shell struct {
	log io.Writer
	now func() time.Time
}

// maxOutput bounds what is kept of a program's output: some of it comes from the guest.
const maxOutput = 64 << 10

// run calls a program and returns what it writes to stdout. It is killed when ctx ends, and dies with this process.
func (s shell) run(ctx context.Context, path string, arguments ...string) (string, error) {
	var stdout, stderr bounded
	command := exec.CommandContext(ctx, path, arguments...)
	command.Env = append(os.Environ(), "LC_ALL=C")
	command.Stdout, command.Stderr = &stdout, &stderr
	// A group of its own: Ctrl-C in a terminal reaches us alone.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second // scp's ssh may hold the pipes a moment longer

	// The death signal comes when the starting thread ends, so it must live as long as the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := s.now()
	err := command.Run()
	name := filepath.Base(path)
	s.note(began, command, append([]string{name}, arguments...))
	if err == nil {
		return stdout.String(), nil
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("calling %s: %w", name, context.Cause(ctx))
	}
	return "", fmt.Errorf("calling %s %s: %w: %s", name, lastArgument(arguments), err, complaint(stderr.String(), stdout.String()))
}

// note writes a line into the log. A log that takes none is no reason to stop.
func (s shell) note(began time.Time, command *exec.Cmd, words []string) {
	end := "not started"
	if command.ProcessState != nil {
		end = command.ProcessState.String()
	}
	_, _ = fmt.Fprintf(s.log, "%s %7.2fs %-13s  %s\n", began.UTC().Format("2006-01-02T15:04:05.000Z"),
		s.now().Sub(began).Seconds(), end, strings.Join(words, " "))
}

// lastArgument says what a call was about: ssh's and virsh's options stand before.
func lastArgument(arguments []string) string {
	if len(arguments) == 0 {
		return ""
	}
	last := arguments[len(arguments)-1]
	return fmt.Sprintf("... %q", last[:min(len(last), 120)])
}

// complaint is the last line that a program wrote, to stderr if there is one.
func complaint(outputs ...string) string {
	for _, text := range outputs {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if last := lines[len(lines)-1]; last != "" {
			return printable.Line(last, 300)
		}
	}
	return "it said nothing"
}

// bounded keeps the beginning of what is written.
type bounded struct{ kept bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.kept.Write(p[:min(len(p), maxOutput-b.kept.Len())])
	return len(p), nil
}

func (b *bounded) String() string { return b.kept.String() }
