// Command patchlab tells what a patch does to a server, by doing it to a clone.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/patchlab/patchlab/harness/verdict"
)

func main() {
	env := newEnvironment()
	ctx, stop := interruptible(env.notice)
	code := execute(ctx, env, os.Args[1:])
	stop()
	os.Exit(code)
}

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// interruptible returns a context that the first signal ends. Later signals do not end the process: they would leave
// domains and overlays behind, and cleaning up has a deadline of its own. A closed pipe (patchlab ... | head) is no
// reason to die half-way either: writing fails, and teardown happens.
func interruptible(notice func(string)) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case received := <-signals:
				if ctx.Err() == nil {
					notice(received.String() + ": cleaning up")
					cancel(fmt.Errorf("%w by %s", errInterrupted, received))
					continue
				}
				notice("still cleaning up; after a kill -9, `patchlab gc` removes what is left")
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// execute runs the command line and returns the exit code.
func execute(ctx context.Context, env *environment, args []string) int {
	root := newRootCommand(env) //nolint:contextcheck // cobra hands the context of ExecuteContext to the commands
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
	case errors.Is(context.Cause(ctx), errInterrupted):
		exit = &exitError{code: verdict.Interrupted.ExitCode(), err: err}
	default:
		exit = &exitError{code: verdict.ExitInternal, err: err}
	}
	if exit.err != nil {
		_, _ = fmt.Fprintf(env.Stderr, "patchlab: %v\n", exit.err)
	}
	return exit.code
}

// exitError ends the process with a code. Its err, if any, has not been shown yet.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage marks an error as one of the command line, a scenario or a manifest.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: verdict.ExitUsage, err: err}
}
