package harness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/scenario"
)

// errUnproven refuses checkpoints where nobody knows what a revert would undo.
var errUnproven = errors.New("it is not proven that a revert undoes here what came after its checkpoint")

// mayCheckpoint returns an error that wraps [errUnproven] unless a guest of this host was seen to be brought back.
func (h Host) mayCheckpoint(ctx context.Context) error {
	const remedy = "see the line checkpoints of `patchlab doctor`"
	if h.Undo == nil {
		return fmt.Errorf("%w: nobody has tried; %s", errUnproven, remedy)
	}
	report, err := h.Undo(ctx)
	if err != nil {
		return fmt.Errorf("proving that a revert undoes here what came after its checkpoint: %w", err)
	}
	if !report.Proven {
		return fmt.Errorf("%w: %s; %s", errUnproven, report.Reason, remedy)
	}
	return nil
}

// mayCheckpoint tells why the run must not take one: for want of that proof, or of room.
func (r *run) mayCheckpoint(ctx context.Context) error {
	if err := r.host.mayCheckpoint(ctx); err != nil {
		return err
	}
	return roomForCheckpoint(r.dir.Path, r.image.MemoryMiB)
}

// checkpoint keeps the state of the clone, which goes on then.
func (c *clone) checkpoint(ctx context.Context, name string) error {
	checkpointer, ok := c.domain.(hypervisor.Checkpointer)
	if !ok {
		return hypervisor.ErrCannotCheckpoint
	}
	ctx, cancel := context.WithTimeout(ctx, c.bounds.Driver)
	defer cancel()
	c.power.Lock()
	defer c.power.Unlock()
	return checkpointer.Checkpoint(ctx, name)
}

// revertTimes are seconds since a revert was asked for, until ...
type revertTimes struct {
	running float64 // the domain ran
	told    float64 // the probe that waits in the guest had answered; 0 where none waits
	answer  float64 // the guest answered over ssh
	settled float64 // it had come to rest
}

// revert brings the clone back to a checkpoint and makes it ready for use: the clock is set, it is connected anew and settled.
// located, if set, is called when the guest's new address is known. All that fails is the lab's fault.
func (c *clone) revert(ctx context.Context, name string, now func() time.Time, located func() error) (times revertTimes, err error) {
	began := now()
	c.rest()
	if c.conn != nil {
		_ = c.conn.Close() // its other end goes now
		c.conn = nil
	}
	if err := c.goBack(ctx, name); err != nil {
		return times, err
	}
	times.running = seconds(now().Sub(began))
	if located != nil {
		if err := located(); err != nil {
			return times, err
		}
	}
	woken, err := c.wakeAgain(ctx, now)
	if err != nil {
		return times, err
	}
	if woken {
		times.told = seconds(now().Sub(began))
	}
	if err := c.connect(ctx, c.bounds.Boot, ""); err != nil {
		return times, fmt.Errorf("reaching the guest after its revert to %s: %w", name, err)
	}
	times.answer = seconds(now().Sub(began))
	if !woken {
		if err := probe.SetClock(ctx, c.conn, now()); err != nil {
			return times, err
		}
	}
	_, err = c.settle(ctx)
	times.settled = seconds(now().Sub(began))
	return times, err
}

func (c *clone) goBack(ctx context.Context, name string) error {
	checkpointer, ok := c.domain.(hypervisor.Checkpointer)
	if !ok {
		return hypervisor.ErrCannotCheckpoint
	}
	ctx, cancel := context.WithTimeout(ctx, c.bounds.Driver)
	defer cancel()
	c.power.Lock()
	defer c.power.Unlock()
	if err := checkpointer.Revert(ctx, name); err != nil {
		return err
	}
	return c.locate(ctx)
}

// wakeAgain brings a guest to the present by the probe that waits in it, if one does: it did not in a guest that was booted.
func (c *clone) wakeAgain(ctx context.Context, now func() time.Time) (woken bool, err error) {
	if err := c.awaken(ctx); err != nil {
		if ctx.Err() == nil {
			return false, nil // there is ssh
		}
		return false, err
	}
	if !c.stillWaiting(ctx) {
		c.rest()
		return false, ctx.Err()
	}
	return true, probe.SetClock(ctx, c.waiting, now())
}

// PhaseCheckpoint is the phase in which the checkpoint before an increment is taken, of a guest that is kept.
const PhaseCheckpoint = "checkpoint"

// BeforeIncrement names the checkpoint of the guest as it was before an increment.
func BeforeIncrement(increment string) string { return "before-" + increment }

// keepWayBack takes the checkpoint of a guest that is going to be kept, to which `patchlab revert` leads. That it cannot is told
// once, and does not keep the run from its test.
func (r *run) keepWayBack(ctx context.Context, c *clone, increment scenario.Increment) error {
	if !r.options.Keep || r.noWayBack {
		return nil
	}
	err := r.mayCheckpoint(ctx)
	if err == nil {
		err = r.phase(PhaseCheckpoint, increment.Name, func(*phase) error {
			return c.checkpoint(ctx, BeforeIncrement(increment.Name))
		})
	} else if ctx.Err() == nil {
		r.skip(PhaseCheckpoint, increment.Name, err.Error())
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.noWayBack = err != nil
	return nil
}
