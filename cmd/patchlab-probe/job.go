package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/patchlab/patchlab/harness/probe/job"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/probe/systemd"
)

// runJob starts a job if that was not done, and follows it. `job supervise` is what it starts.
func runJob(ctx context.Context, arguments []string, stdout io.Writer) (int, error) {
	if len(arguments) < 2 {
		return 0, fmt.Errorf("%w: want job run NAME", errUsage)
	}
	j, err := job.New(protocol.JobsDir, arguments[1])
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errUsage, err)
	}
	switch arguments[0] {
	case "run":
		flags := newFlags("job run")
		offset := flags.Int64("offset", 0, "bytes of the log that were seen")
		if err := parse(flags, arguments[2:]); err != nil {
			return 0, err
		}
		if err := j.Ensure(func() error { return start(ctx, j) }); err != nil {
			return 0, err
		}
		return j.Follow(ctx, *offset, stdout)
	case "supervise":
		return 0, j.Supervise(ctx)
	}
	return 0, fmt.Errorf("%w: unknown command job %q", errUsage, arguments[0])
}

// start hands a job to systemd, or detaches it where systemd does not run.
func start(ctx context.Context, j *job.Job) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the probe: %w", err)
	}
	argv := []string{self, "job", "supervise", j.Name}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return job.Detach(ctx, argv)
	}
	m, err := systemd.Connect(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Start(ctx, j.Unit(), "patchlab job "+j.Name, argv)
}
