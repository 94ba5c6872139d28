package libvirt

import (
	"context"
	"errors"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// domain is a handle on one of libvirt's.
type domain struct {
	driver *Driver
	handle golibvirt.Domain
	mark   metadata // what goes with it
	// resume is what the next start goes on from, and how; nil for a boot.
	resume *resumption
}

// do makes a call that has no answer.
func (d *domain) do(ctx context.Context, act string, calls func(*golibvirt.Libvirt) error) error {
	_, err := call(ctx, d.driver, act+" domain "+d.handle.Name, func(l *golibvirt.Libvirt) (struct{}, error) {
		return struct{}{}, calls(l)
	})
	return err
}

// Start turns the domain on.
func (d *domain) Start(ctx context.Context) error {
	if from := d.resume; from != nil {
		d.resume = nil // whatever comes of it
		if err := d.goOn(ctx, *from); err != nil {
			return d.driver.guard.explain(err)
		}
		d.driver.place.attend(d.handle.Name, d.mark)
		return nil
	}
	if err := d.do(ctx, "starting", func(l *golibvirt.Libvirt) error { return l.DomainCreate(d.handle) }); err != nil {
		return d.driver.guard.explain(err)
	}
	d.driver.place.attend(d.handle.Name, d.mark)
	return nil
}

// State asks for the state.
func (d *domain) State(ctx context.Context) (hypervisor.State, error) {
	state, err := call(ctx, d.driver, "asking for the state of domain "+d.handle.Name, func(l *golibvirt.Libvirt) (hypervisor.State, error) {
		return readState(l, d.handle)
	})
	if err == nil && (state == hypervisor.StateOff || state == hypervisor.StateCrashed) {
		err = d.driver.place.leave(ctx, d.handle.Name, d.mark)
	}
	return state, err
}

func readState(l *golibvirt.Libvirt, handle golibvirt.Domain) (hypervisor.State, error) {
	state, reason, err := l.DomainGetState(handle, 0)
	if err != nil {
		return hypervisor.StateInvalid, err
	}
	return stateOf(golibvirt.DomainState(state), golibvirt.DomainShutoffReason(reason))
}

// stateOf translates libvirt's states. A domain that is being shut down has its QEMU still: it is on.
func stateOf(state golibvirt.DomainState, off golibvirt.DomainShutoffReason) (hypervisor.State, error) {
	switch state {
	case golibvirt.DomainRunning, golibvirt.DomainBlocked, golibvirt.DomainShutdown:
		return hypervisor.StateRunning, nil
	case golibvirt.DomainPaused, golibvirt.DomainPmsuspended:
		return hypervisor.StatePaused, nil
	case golibvirt.DomainCrashed:
		return hypervisor.StateCrashed, nil
	case golibvirt.DomainShutoff:
		// QEMU has gone without saying so (crashed), or never came up (failed).
		if off == golibvirt.DomainShutoffCrashed || off == golibvirt.DomainShutoffFailed {
			return hypervisor.StateCrashed, nil
		}
		return hypervisor.StateOff, nil
	default:
		return hypervisor.StateInvalid, fmt.Errorf("unknown state %d", state)
	}
}

// Destroy pulls the plug.
func (d *domain) Destroy(ctx context.Context) error {
	err := d.do(ctx, "destroying", func(l *golibvirt.Libvirt) error { return destroy(l, d.handle) })
	if errors.Is(err, hypervisor.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.driver.place.leave(ctx, d.handle.Name, d.mark)
}

// destroy returns nil for a domain that is off.
func destroy(l *golibvirt.Libvirt, handle golibvirt.Domain) error {
	err := l.DomainDestroyFlags(handle, 0)
	if !isCode(err, golibvirt.ErrOperationInvalid) {
		return err
	}
	active, asking := l.DomainIsActive(handle)
	if asking != nil || active != 0 {
		return errors.Join(err, asking)
	}
	return nil
}

// Undefine destroys the domain, removes its files and makes libvirt forget it. In this order: as long as anything is
// left, the domain's metadata tells what.
func (d *domain) Undefine(ctx context.Context) error {
	if err := d.Destroy(ctx); err != nil {
		return err
	}
	if err := d.driver.place.clear(ctx, d.handle.Name, d.mark); err != nil {
		return err
	}
	return d.driver.undefine(ctx, d.handle)
}

func (d *Driver) undefine(ctx context.Context, handle golibvirt.Domain) error {
	_, err := call(ctx, d, "undefining domain "+handle.Name, func(l *golibvirt.Libvirt) (struct{}, error) {
		const everything = golibvirt.DomainUndefineManagedSave | golibvirt.DomainUndefineSnapshotsMetadata |
			golibvirt.DomainUndefineCheckpointsMetadata | golibvirt.DomainUndefineNvram
		return struct{}{}, l.DomainUndefineFlags(handle, everything)
	})
	if errors.Is(err, hypervisor.ErrNotFound) {
		return nil
	}
	return err
}
