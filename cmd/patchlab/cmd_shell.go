package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
)

const shellLong = `Open a shell as root in the guest that a run has kept (patchlab run --keep), or run a command there. What you do there does
not change the verdict of the run, nor its evidence. patchlab gc --kept ends the guest.

The exit code is that of the shell or of the command; 255 when the guest cannot be reached, as with ssh.`

const shellExample = `  patchlab run --keep openssl-nginx
  patchlab shell last
  patchlab shell last journalctl -b -u nginx
  patchlab shell last 'tar -C /etc -cz nginx' > nginx.tar.gz`

// exitUnreachable is the exit code of a shell that did not come about or did not end by itself: ssh's, which no command has.
const exitUnreachable = 255

func newShellCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "shell RUN [COMMAND...]",
		Short:   "Open a shell in the guest that a run has kept",
		Long:    shellLong,
		Example: shellExample,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.shell(cmd.Context(), args[0], strings.Join(args[1:], " "))
		},
	}
	cmd.ValidArgsFunction = env.completeRuns(true)
	cmd.Flags().SetInterspersed(false) // what follows the run is the command's: patchlab shell last ls -l
	return cmd
}

// attacher is a connection over which a person can work.
type attacher interface {
	Attach(ctx context.Context, session sshguest.Session) (int, error)
}

func (e *environment) shell(ctx context.Context, name, line string) error {
	dir, err := e.findRun(name)
	if err != nil {
		return err
	}
	conn, err := e.reachKept(ctx, dir)
	if err != nil {
		return unreachable(ctx, err)
	}
	defer func() { _ = conn.Close() }() // the session has ended
	attach, ok := conn.(attacher)
	if !ok {
		return fmt.Errorf("the guest of run %s has no shell to attach to", filepath.Base(dir))
	}
	code, err := e.attach(ctx, attach, line)
	switch {
	case err != nil:
		return unreachable(ctx, err)
	case code != 0:
		return &exitError{code: code}
	}
	return nil
}

// unreachable gives a guest that cannot be reached ssh's exit code. Usage errors and interrupts keep theirs.
func unreachable(ctx context.Context, err error) error {
	if _, has := errors.AsType[*exitError](err); has || ctx.Err() != nil {
		return err
	}
	return &exitError{code: exitUnreachable, err: err}
}

// attach joins the session with this process's terminal, or with its pipes. Without a command line there is a terminal in the
// guest too; a command gets one only where both its input and its output are one here, so that binary output stays as it is.
func (e *environment) attach(ctx context.Context, conn attacher, line string) (code int, err error) {
	session := sshguest.Session{Line: line, Stdin: e.stdin(), Stdout: e.Stdout, Stderr: e.Stderr}
	in, isFile := e.stdin().(*os.File)
	if !isFile || !term.IsTerminal(int(in.Fd())) || !isTerminal(e.Stdout) {
		return conn.Attach(ctx, session)
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return 0, fmt.Errorf("handing over the terminal: %w", err)
	}
	defer func() {
		if restoring := term.Restore(int(in.Fd()), before); restoring != nil {
			err = errors.Join(err, fmt.Errorf("restoring the terminal (`reset` does it): %w", restoring))
		}
	}()
	sizes, stop := terminalSizes(e.Stdout)
	defer stop()
	session.Terminal = &sshguest.Terminal{Name: first(e.Getenv("TERM"), "dumb"), Size: terminalSize(e.Stdout), Resized: sizes}
	code, err = conn.Attach(ctx, session)
	if errors.Is(err, guest.ErrLost) {
		err = fmt.Errorf("the guest went away: %w", err)
	}
	return code, err
}

// terminalSizes tells each new size of a terminal, until stop is called.
func terminalSizes(w io.Writer) (sizes <-chan sshguest.Size, stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	done := make(chan struct{})
	told := make(chan sshguest.Size)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-changed:
			}
			select {
			case <-done:
				return
			case told <- terminalSize(w):
			}
		}
	}()
	return told, func() {
		signal.Stop(changed)
		close(done)
	}
}

func terminalSize(w io.Writer) sshguest.Size {
	file, ok := w.(*os.File)
	if ok {
		if columns, rows, err := term.GetSize(int(file.Fd())); err == nil && columns > 0 && rows > 0 {
			return sshguest.Size{Columns: columns, Rows: rows}
		}
	}
	return sshguest.Size{Columns: 80, Rows: 24}
}
