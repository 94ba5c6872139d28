package harness

import (
	"context"
	"errors"
	"fmt"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/hypervisor"
)

// errCannotCut is a hypervisor whose drivers pull no plugs.
var errCannotCut = errors.New("this hypervisor's driver cannot cut the power of a domain: leave power-cut out of the reboots")

// cutPower takes the power from the guest and gives it back. What fails here is the lab's fault.
func (c *clone) cutPower(ctx context.Context) error {
	cutter, ok := c.domain.(hypervisor.PowerCutter)
	if !ok {
		return errCannotCut
	}
	c.power.Lock()
	defer c.power.Unlock()
	if err := cutter.CutPower(ctx); err != nil {
		return err
	}
	c.hangUp()
	c.mark = boot.Mark(c.console)
	if err := c.domain.Start(ctx); err != nil {
		return fmt.Errorf("giving the clone its power back: %w", err)
	}
	return c.locate(ctx)
}

// turnOff turns the clone off for as long as another domain has its disk, after its kernel was asked to write down what it still
// knows. Who watches the domain looks away until it is found again, see [clone.locate].
func (c *clone) turnOff(ctx context.Context) error {
	c.hangUp()
	c.writeBack(ctx)
	return c.lieDown(ctx)
}

// turnOn starts the clone's domain, which boots.
func (c *clone) turnOn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.bounds.Driver)
	defer cancel()
	c.power.Lock()
	defer c.power.Unlock()
	c.mark = boot.Mark(c.console)
	if err := c.domain.Start(ctx); err != nil {
		return fmt.Errorf("turning the clone on: %w", err)
	}
	return c.locate(ctx)
}

// lieDown turns the domain off until it is found again, see [clone.locate]. Who watches looks away.
func (c *clone) lieDown(ctx context.Context) error {
	c.hangUp()
	ctx, cancel := context.WithTimeout(ctx, c.bounds.Driver)
	defer cancel()
	c.power.Lock()
	defer c.power.Unlock()
	if err := c.domain.Destroy(ctx); err != nil {
		return fmt.Errorf("turning the clone off: %w", err)
	}
	c.isOff = true
	return nil
}

// powerCycle turns the domain off and on, as a person does with a machine that is beyond help.
func (c *clone) powerCycle(ctx context.Context) error {
	if err := c.lieDown(ctx); err != nil {
		return err
	}
	return c.turnOn(ctx)
}

// hangUp closes what leads into a boot that is over.
func (c *clone) hangUp() {
	c.rest()
	if c.conn != nil {
		_ = c.conn.Close() // it died with the boot
		c.conn = nil
	}
}
