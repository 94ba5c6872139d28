package hypervisor

import (
	"context"
	"errors"
	"time"
)

// ErrCannotCheckpoint is wrapped by the errors of a driver that cannot keep states of a domain and bring it back to them, where it
// otherwise works: on another machine, or where it may not hand files to QEMU's user.
var ErrCannotCheckpoint = errors.New("checkpoints are not possible here")

// ErrNoCheckpoint is wrapped by the error of [Checkpointer.Revert] to a checkpoint that the domain does not have.
var ErrNoCheckpoint = errors.New("no such checkpoint")

// Checkpoint is a state of one domain: its RAM, its devices, its disk and its EFI variables at one instant. It belongs to the
// domain: [Domain.Undefine] removes it.
type Checkpoint struct {
	Name  string    `json:"name"`
	Taken time.Time `json:"taken"`
	// MemoryBytes is what the RAM and the devices occupy on this host's disk. Pages of zeros cost next to nothing.
	MemoryBytes int64 `json:"memory_bytes"`
	// DiskBytes is what of the guest's disk was written since the checkpoint before, or since the domain was defined: what is
	// older is shared.
	DiskBytes int64 `json:"disk_bytes"`
}

// Checkpointer is a domain that can be brought back to earlier states of itself: to any, in any order, any number of times, also
// by another process than the one that took them. It needs [DomainSpec.Checkpoints] and an overlay disk.
//
// A context that ends makes a call return early; what is said of failures holds then too.
type Checkpointer interface {
	// Checkpoint keeps the state of a running guest under a name that it does not have yet: letters, digits, dots and dashes. The
	// guest stands still meanwhile and goes on then, with its address and its connections; its clock has missed the time. When
	// it fails, it MUST leave the guest running and no such checkpoint, unless it says that the guest could not go on.
	Checkpoint(ctx context.Context, name string) error
	// Revert makes the domain what it was at a checkpoint, running, whatever it is now: also off. Everything since then is undone,
	// but for what was written to the console. Connections are lost, and the address is another one; the generation id changes.
	// When it fails, the domain is off or as it was, and its checkpoints are as they were; a start would boot.
	Revert(ctx context.Context, name string) error
	// Checkpoints lists them in the order in which they were taken.
	Checkpoints(ctx context.Context) ([]Checkpoint, error)
}
