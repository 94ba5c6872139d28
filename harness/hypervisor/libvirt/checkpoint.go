package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// A checkpoint is a saved guest that goes on in the same QEMU, so that its connections live on: stopped, its disk gets another
// overlay, its state migrates to us, and it runs again. A revert is another QEMU, for none goes back: an overlay on the disk of
// that instant, and the state migrates in. See docs/decisions/0008.

var _ hypervisor.Checkpointer = (*domain)(nil)

// Checkpoint keeps the guest's state under a name.
func (d *domain) Checkpoint(ctx context.Context, name string) (err error) {
	act := fmt.Sprintf("keeping checkpoint %s of domain %s", name, d.handle.Name)
	home, kept, err := d.checkpoints()
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if state, err := d.State(ctx); err != nil || state != hypervisor.StateRunning {
		return errors.Join(fmt.Errorf("%s: it is %s", act, state), err)
	}
	if err := kept.begin(name); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, kept.drop(name))
		}
	}()
	// From here on the guest has to be let go on, whatever happens.
	defer func() { err = errors.Join(err, d.letRun(ctx, err != nil)) }()
	if err := d.do(ctx, "suspending", func(l *golibvirt.Libvirt) error { return l.DomainSuspend(d.handle) }); err != nil {
		return err
	}
	if err := d.keep(ctx, home, kept, name); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}

// checkpoints finds where they are kept.
func (d *domain) checkpoints() (local, checkpoints, error) {
	home, here := d.driver.place.(local)
	switch {
	case !here:
		return local{}, "", fmt.Errorf("%w: its QEMU is on another machine", hypervisor.ErrCannotCheckpoint)
	case d.mark.Checkpoints == "" || d.mark.Overlay == "":
		return local{}, "", fmt.Errorf("%w: the domain was made without a place for them", hypervisor.ErrCannotCheckpoint)
	case home.foreign != nil && os.Geteuid() != 0:
		return local{}, "", fmt.Errorf("%w: QEMU runs as the user %s, to whom only root could hand files over",
			hypervisor.ErrCannotCheckpoint, home.foreign.Name)
	}
	return home, checkpoints(d.mark.Checkpoints), nil
}

// keep writes the checkpoint of a guest that stands still.
func (d *domain) keep(ctx context.Context, home local, kept checkpoints, name string) error {
	definition, err := d.definition(ctx)
	if err != nil {
		return err
	}
	disk, err := diskOf(definition)
	if err != nil {
		return err
	}
	if err := d.addLayer(ctx, home, kept, disk.Target.Dev); err != nil {
		return err
	}
	frozen := disk.Source.File.File
	if err := home.freeze(frozen); err != nil {
		return err
	}
	if d.mark.Variables != "" {
		if err := os.WriteFile(kept.file(name, variablesFile), nil, 0o600); err != nil {
			return err
		}
		if err := restore(kept.file(name, variablesFile), d.mark.Variables); err != nil {
			return err
		}
	}
	if err := d.writeState(ctx, home, kept.file(name, stateFile)); err != nil {
		return err
	}
	return kept.finish(name, entry{Taken: time.Now().UTC(), Disk: frozen})
}

// definition is what libvirt starts the next time.
func (d *domain) definition(ctx context.Context) (libvirtxml.Domain, error) {
	text, err := call(ctx, d.driver, "reading the definition of domain "+d.handle.Name, func(l *golibvirt.Libvirt) (string, error) {
		return l.DomainGetXMLDesc(d.handle, golibvirt.DomainXMLInactive|golibvirt.DomainXMLSecure)
	})
	if err != nil {
		return libvirtxml.Domain{}, err
	}
	var definition libvirtxml.Domain
	if err := definition.Unmarshal(text); err != nil {
		return libvirtxml.Domain{}, fmt.Errorf("reading the definition of domain %s: %w", d.handle.Name, err)
	}
	return definition, nil
}

// Disk returns the file that the guest writes to, and leaves it with the user that QEMU runs as: a libvirt that hands files over itself
// takes them back when the domain is off.
func (d *domain) Disk(ctx context.Context) (string, error) {
	home, here := d.driver.place.(local)
	switch {
	case !here:
		return "", fmt.Errorf("looking for the disk of domain %s: %w: its QEMU is on another machine", d.handle.Name, hypervisor.ErrNoDisk)
	case home.foreign != nil && os.Geteuid() != 0:
		return "", fmt.Errorf("looking for the disk of domain %s: %w: QEMU runs as the user %s, to whom only root could hand it over",
			d.handle.Name, hypervisor.ErrNoDisk, home.foreign.Name)
	}
	definition, err := d.definition(ctx)
	if err != nil {
		return "", err
	}
	disk, err := diskOf(definition)
	if err != nil {
		return "", fmt.Errorf("looking for the disk of domain %s: %w", d.handle.Name, err)
	}
	return disk.Source.File.File, home.handOverUnlisted(disk.Source.File.File)
}

// diskOf finds the disk that the guest writes to.
func diskOf(definition libvirtxml.Domain) (*libvirtxml.DomainDisk, error) {
	if definition.Devices != nil {
		for i := range definition.Devices.Disks {
			disk := &definition.Devices.Disks[i]
			if disk.ReadOnly == nil && disk.Target != nil && disk.Source != nil && disk.Source.File != nil {
				return disk, nil
			}
		}
	}
	return nil, errors.New("the domain has no disk of its own")
}

// addLayer lets what the guest writes from now on go into a new overlay. libvirt does it, and its next start uses that.
func (d *domain) addLayer(ctx context.Context, home local, kept checkpoints, device string) error {
	layer, err := home.newLayer(kept)
	if err != nil {
		return err
	}
	text, err := (&libvirtxml.DomainSnapshot{Disks: &libvirtxml.DomainSnapshotDisks{Disks: []libvirtxml.DomainSnapshotDisk{{
		Name: device, Snapshot: "external", Driver: &libvirtxml.DomainDiskDriver{Type: "qcow2"},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: layer}},
	}}}}).Marshal()
	if err != nil {
		return errors.Join(err, os.Remove(layer))
	}
	// The file is empty: else libvirt would not take it.
	const flags = golibvirt.DomainSnapshotCreateDiskOnly | golibvirt.DomainSnapshotCreateNoMetadata | golibvirt.DomainSnapshotCreateAtomic
	// Whether one that was cut short has taken the file nobody knows: it stays until the domain goes.
	return d.do(ctx, "adding an overlay to", func(l *golibvirt.Libvirt) error {
		_, err := l.DomainSnapshotCreateXML(d.handle, text, uint32(flags))
		return err
	})
}

// writeState lets the state of a guest that stands still, with its RAM, go into a new file.
func (d *domain) writeState(ctx context.Context, home local, state string) (err error) {
	file, err := os.OpenFile(state, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	socket, done, err := home.exchange(d.mark.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	// Not flushed to the disk: a host that crashes takes along the guest whose state it is.
	return d.moveOut(ctx, home, socket, file, false)
}

// letRun lets a guest go on that was made to stand still, on a clock of its own; after a failure also one whose state may still be
// on its way.
func (d *domain) letRun(ctx context.Context, failed bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBack)
	defer cancel()
	if failed {
		if err := d.endMigration(ctx); err != nil {
			return err
		}
	}
	err := d.do(ctx, "resuming", func(l *golibvirt.Libvirt) error { return l.DomainResume(d.handle) })
	if err == nil || !failed {
		return err
	}
	if state, asking := d.State(ctx); asking == nil && state == hypervisor.StateRunning {
		return nil // it had not been suspended yet
	}
	return err
}

// Revert starts the domain anew from a checkpoint.
func (d *domain) Revert(ctx context.Context, name string) (err error) {
	act := fmt.Sprintf("reverting domain %s to checkpoint %s", d.handle.Name, name)
	home, kept, err := d.checkpoints()
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	found, err := kept.read(name)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	definition, err := d.definition(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if err := d.Destroy(ctx); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if err := d.putBack(ctx, home, kept, name, found.Disk, &definition); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	d.resume = nil
	from := resumption{
		definition: definition, memoryMiB: mebibytes(definition.Memory), saved: hypervisor.Saved{State: kept.file(name, stateFile)},
	}
	if err := d.goOn(ctx, from); err != nil {
		return d.driver.guard.explain(fmt.Errorf("%s: %w", act, err))
	}
	d.driver.place.attend(d.handle.Name, d.mark)
	return nil
}

// putBack gives a domain that is off an overlay on the checkpoint's disk, and the checkpoint's EFI variables.
func (d *domain) putBack(
	ctx context.Context, home local, kept checkpoints, name, frozen string, definition *libvirtxml.Domain,
) (err error) {
	disk, err := diskOf(*definition)
	if err != nil {
		return err
	}
	undone := disk.Source.File.File
	layer, err := home.newLayerOn(ctx, kept, frozen)
	if err != nil {
		return err
	}
	disk.Source.File.File = layer
	if disk.BackingStore != nil {
		disk.BackingStore = backingStore(frozen)
	}
	if err := d.redefine(ctx, *definition); err != nil {
		return err // with which of the two layers nobody knows: both stay until the domain goes
	}
	if d.mark.Variables != "" {
		if err := restore(d.mark.Variables, kept.file(name, variablesFile)); err != nil {
			return err
		}
	}
	if needed, err := kept.isFrozen(undone); err != nil || needed {
		return err
	}
	return os.Remove(undone)
}

func (d *domain) redefine(ctx context.Context, definition libvirtxml.Domain) error {
	text, err := definition.Marshal()
	if err != nil {
		return fmt.Errorf("rendering domain %s: %w", d.handle.Name, err)
	}
	return d.do(ctx, "redefining", func(l *golibvirt.Libvirt) error {
		_, err := l.DomainDefineXMLFlags(text, golibvirt.DomainDefineValidate)
		return err
	})
}

// mebibytes reads libvirt's own rendering of a domain's memory, which is in KiB.
func mebibytes(memory *libvirtxml.DomainMemory) int {
	if memory == nil {
		return 0
	}
	return int(memory.Value >> 10)
}

// Checkpoints lists them.
func (d *domain) Checkpoints(ctx context.Context) ([]hypervisor.Checkpoint, error) {
	act := "listing the checkpoints of domain " + d.handle.Name
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", act, context.Cause(ctx))
	}
	found, err := checkpoints(d.mark.Checkpoints).all()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	return found, nil
}
