package libvirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/wait"
)

// killItself has QEMU send SIGKILL to itself, by the command with which its own tests crash it; that wants a disk, here the first. libvirt's ways to end
// a domain begin with SIGTERM, upon which QEMU writes down what it still knows of its disks; and QEMU need not be on this host.
const killItself = `qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "sigraise 9"`

// CutPower kills the domain's QEMU.
func (d *domain) CutPower(ctx context.Context) error {
	act := "cutting the power of domain " + d.handle.Name
	state, err := d.State(ctx)
	if err != nil {
		return err
	}
	if state != hypervisor.StateRunning {
		return fmt.Errorf("%s: it is %s", act, state)
	}
	// Nobody is left to answer: what counts is that it has gone.
	said, refused := call(ctx, d.driver, act, func(l *golibvirt.Libvirt) (string, error) {
		return l.QEMUDomainMonitorCommand(d.handle, killItself, humanMonitor)
	})
	const patience, interval = 10 * time.Second, 20 * time.Millisecond // libvirt notices the end of its monitor at once
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = wait.Until(waiting, "the end of its QEMU", interval, func(ctx context.Context) (bool, error) {
		state, err := d.State(ctx)
		return state == hypervisor.StateOff || state == hypervisor.StateCrashed, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w (it said %q)", act, errors.Join(err, refused), said)
	}
	return nil
}
