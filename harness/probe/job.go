package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/probe/job"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// ErrJobDied is wrapped by the error about a job that ended without an exit code: somebody in the guest killed it.
var ErrJobDied = errors.New("the job died without an exit code")

// maxLog bounds what is passed on of a job's output.
const maxLog = guest.MaxOutput

// JobPath is where the executable of a job must be put before [RunJob].
func JobPath(name string) string { return protocol.JobsDir + "/" + name + "/" + protocol.JobProgram }

// RunJob starts a job unless it was started, copies its output from an offset on to stdout, and returns its exit code. Of an
// endless output the rest is dropped.
//
// After an error that wraps [guest.ErrLost] the job goes on; call RunJob again over a new connection with the number of
// bytes that stdout has received.
func RunJob(ctx context.Context, conn guest.Conn, name string, offset int64, stdout io.Writer) (exit int, err error) {
	b, err := current()
	if err != nil {
		return 0, err
	}
	return b.runJob(ctx, conn, name, offset, stdout)
}

func (b *build) runJob(
	ctx context.Context, conn guest.Conn, name string, offset int64, stdout io.Writer,
) (exit int, err error) {
	if err := job.CheckName(name); err != nil {
		return 0, err
	}
	command := guest.Command{
		Line:   fmt.Sprintf("%s job run %s --offset %d", b.path(), name, offset),
		Stdout: &limitedWriter{to: stdout, room: max(0, maxLog-offset)},
	}
	result, err := conn.Run(ctx, command)
	if err != nil {
		return 0, fmt.Errorf("running job %s: %w", name, err)
	}
	// A job's own words all go to its log: what is on standard error is the probe's.
	if len(result.Stderr) == 0 {
		return result.ExitCode, nil
	}
	if result.ExitCode == protocol.ExitDied && strings.HasPrefix(string(result.Stderr), protocol.ErrorPrefix) {
		return 0, fmt.Errorf("running job %s: %w", name, ErrJobDied)
	}
	return 0, fmt.Errorf("running job %s: %w", name, &guest.ExitError{Command: command.Line, Result: result})
}

// limitedWriter drops what is beyond its room.
type limitedWriter struct {
	to   io.Writer
	room int64
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	keep := p[:min(int64(len(p)), w.room)]
	w.room -= int64(len(keep))
	if n, err := w.to.Write(keep); err != nil {
		return n, err
	}
	return len(p), nil
}
