package harness

import (
	"context"
	"fmt"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
)

// Round is what one checkpoint of the clone and one revert to it cost: seconds, those of the revert since it was asked for.
type Round struct {
	Checkpoint float64 // until the guest went on
	Running    float64 // until the domain ran
	Told       float64 // until the probe that waits in the guest had answered and set the clock; 0 without one
	Answer     float64 // until it answered over ssh, and the probe was there
	Settled    float64
	// MemoryBytes and DiskBytes are what the checkpoint holds of the host's disk.
	MemoryBytes, DiskBytes int64
}

// rounds takes checkpoints and goes back to each, and sees to it that something is undone.
func (r *run) rounds(ctx context.Context, c *clone, count int) (taken []Round, err error) {
	if count == 0 {
		return nil, nil
	}
	if err := r.host.mayCheckpoint(ctx); err != nil {
		return nil, err
	}
	for i := range count {
		round, err := r.round(ctx, c, fmt.Sprintf("round-%d", i+1))
		if err != nil {
			return nil, err
		}
		taken = append(taken, round)
	}
	checkpointer, ok := c.domain.(hypervisor.Checkpointer)
	if !ok {
		return nil, hypervisor.ErrCannotCheckpoint
	}
	listed, err := checkpointer.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	for i := range taken {
		taken[i].MemoryBytes, taken[i].DiskBytes = listed[i].MemoryBytes, listed[i].DiskBytes
	}
	return taken, nil
}

// round changes the guest's disk and memory between a checkpoint and the revert to it.
func (r *run) round(ctx context.Context, c *clone, name string) (Round, error) {
	if err := roomForCheckpoint(r.dir.Path, r.image.MemoryMiB); err != nil {
		return Round{}, err
	}
	began := r.lab.Now()
	if err := c.checkpoint(ctx, name); err != nil {
		return Round{}, err
	}
	took := seconds(r.lab.Now().Sub(began))
	change := guest.Command{Line: "echo changed >/run/patchlab/round && cp /run/patchlab/round /var/tmp/patchlab-round && sync /var/tmp/patchlab-round"}
	if err := c.runs(ctx, change); err != nil {
		return Round{}, fmt.Errorf("changing the guest after its checkpoint: %w", err)
	}
	times, err := c.revert(ctx, name, r.lab.Now, nil)
	if err != nil {
		return Round{}, err
	}
	if err := c.runs(ctx, guest.Command{Line: "test ! -e /run/patchlab/round && test ! -e /var/tmp/patchlab-round"}); err != nil {
		return Round{}, fmt.Errorf("the revert has not undone what came after the checkpoint: %w", err)
	}
	return Round{
		Checkpoint: took, Running: times.running, Told: times.told, Answer: times.answer, Settled: times.settled,
	}, nil
}

// runs has a command run in the guest that must succeed.
func (c *clone) runs(ctx context.Context, command guest.Command) error {
	ctx, cancel := context.WithTimeout(ctx, c.bounds.Command)
	defer cancel()
	result, err := c.conn.Run(ctx, command)
	if err != nil {
		return err
	}
	return result.Err(command)
}
