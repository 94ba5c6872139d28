package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/rundir"
)

// ErrNotKept is wrapped by the error of [OpenKept] for a run that has no guest any more, or never kept it.
var ErrNotKept = errors.New("the run has no guest")

// KeptGuest is the guest that a run left running.
type KeptGuest struct {
	lab    Lab
	host   Host
	dir    *rundir.Dir
	record rundir.KeptGuest
	domain hypervisor.Domain
}

// OpenKept finds the guest that a run has kept in its directory. The run is locked until it is closed: neither gc nor another revert
// comes between.
func OpenKept(ctx context.Context, lab Lab, runDir string) (_ *KeptGuest, err error) {
	dir, err := rundir.Lock(runDir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dir.Close())
		}
	}()
	k := &KeptGuest{lab: lab, dir: dir}
	k.record, err = rundir.ReadKept(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s was not kept", ErrNotKept, dir.ID)
	}
	if err != nil {
		return nil, err
	}
	if k.host, err = lab.Host(ctx); err != nil {
		return nil, err
	}
	k.domain, err = k.host.Driver.Lookup(ctx, domainName(dir.ID, runPurpose))
	if errors.Is(err, hypervisor.ErrNotFound) {
		return nil, fmt.Errorf("%w any more: %w", ErrNotKept, err)
	}
	return k, err
}

// Close lets go of the run.
func (k *KeptGuest) Close() error { return k.dir.Close() }

// Checkpoints lists the guest's, in the order in which they were taken.
func (k *KeptGuest) Checkpoints(ctx context.Context) ([]hypervisor.Checkpoint, error) {
	checkpointer, ok := k.domain.(hypervisor.Checkpointer)
	if !ok {
		return []hypervisor.Checkpoint{}, nil
	}
	return checkpointer.Checkpoints(ctx)
}

// Reverted tells how long a revert took, in seconds since it was asked for.
type Reverted struct {
	Checkpoint string  `json:"checkpoint"`
	Address    string  `json:"address"` // where the guest's ssh is now
	Running    float64 `json:"running_s"`
	Answer     float64 `json:"answer_s"` // until it answered over ssh
	Settled    float64 `json:"settled_s"`
}

// Revert brings the guest back to a checkpoint, whatever became of it, and waits until it can be used. The run directory tells its
// new address.
func (k *KeptGuest) Revert(ctx context.Context, name string) (Reverted, error) {
	if err := k.host.mayCheckpoint(ctx); err != nil {
		return Reverted{}, err
	}
	key, err := os.ReadFile(k.dir.File(rundir.Key))
	if err != nil {
		return Reverted{}, fmt.Errorf("reading the guest's key: %w", err)
	}
	access, err := k.lab.NewAccess(image.Access{User: k.record.User}, key)
	if err != nil {
		return Reverted{}, err
	}
	c := &clone{
		domain: k.domain, bounds: k.lab.Timeouts.Scaled(k.host.Accelerator.Slowness), console: k.dir.File(rundir.Console), access: access,
		// What is done to a kept guest is none of the run's evidence.
		dial: func(address string) (guest.Dialer, error) {
			return access.Dialer(address, k.record.HostKey, io.Discard)
		},
	}
	times, err := c.revert(ctx, name, k.lab.Now, func() error {
		k.record.Address = c.address
		return k.dir.WriteKept(k.record)
	})
	c.rest()
	if c.conn != nil {
		_ = c.conn.Close() // all was asked
	}
	return Reverted{Checkpoint: name, Address: c.address, Running: times.running, Answer: times.answer, Settled: times.settled}, err
}
