// Command patchlab-probe runs inside a guest as root. It reads facts, tells whether the guest has settled, and runs jobs that
// outlive a connection. It can wait in the guest for questions that come through a port of the hypervisor. It never talks to a
// network and changes nothing but /run/patchlab, and the clock when it is told the time.
//
// As the first process of a helper domain it opens the disk of a guest that is off, and runs what it is asked to in that.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/patchlab/patchlab/harness/probe/job"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

const usage = `usage: patchlab-probe facts [--timings] [--only KIND] [--files system|etc] [--index FILE] [--off]
       patchlab-probe settle --timeout DURATION [--alone]
       patchlab-probe clock --set NANOSECONDS
       patchlab-probe wait [--port FILE]
       patchlab-probe job run NAME [--offset BYTES]
       patchlab-probe init
       patchlab-probe version
`

// errUsage is returned for arguments that make no sense.
var errUsage = errors.New("wrong arguments")

func main() {
	// The guest has one slow processor and a probe lives for a second: collecting garbage costs more than it frees.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(96 << 20)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, protocol.ErrorPrefix+protocol.Clean(err.Error()))
	}
	os.Exit(code)
}

// run does one subcommand and returns the exit code.
func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) (int, error) {
	if len(arguments) == 0 {
		_, _ = io.WriteString(stderr, usage)
		return protocol.ExitUsage, errUsage
	}
	command, rest := arguments[0], arguments[1:]
	var code int
	var err error
	switch command {
	case "facts":
		err = facts(ctx, rest, stdout, stderr)
	case "settle":
		err = settle(ctx, rest, stdout)
	case "clock":
		err = setClock(rest)
	case "wait":
		err = waitAt(ctx, rest)
	case "job":
		code, err = runJob(ctx, rest, stdout)
	case "init":
		err = runInit(ctx, rest)
	case "version":
		_, err = fmt.Fprintln(stdout, protocol.Version)
	default:
		err = fmt.Errorf("%w: unknown command %q", errUsage, command)
	}
	switch {
	case err == nil:
		return code, nil
	case errors.Is(err, errUsage):
		_, _ = io.WriteString(stderr, usage)
		return protocol.ExitUsage, err
	case errors.Is(err, errNoIndex):
		return protocol.ExitNoIndex, err
	case errors.Is(err, job.ErrDied):
		return protocol.ExitDied, err
	}
	return protocol.ExitError, err
}
