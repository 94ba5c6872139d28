package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/helper"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/wait"
)

// helperPurpose is part of the name of its domain.
const helperPurpose = "helper"

// withHelper turns the clone off, opens its disk in a helper domain, hands that to use, and takes the domain away again whatever
// happens. The clone stays off. What use does is lost, unless the disk is to be mended: then it is on the clone's own disk, written
// back in order.
func (r *run) withHelper(ctx context.Context, c *clone, p *phase, mend bool, use func(context.Context, *helper.Helper) error) (err error) {
	holder, ok := c.domain.(hypervisor.DiskHolder)
	if !ok {
		return hypervisor.ErrNoDisk
	}
	kit, err := r.kit(ctx, p)
	if err != nil {
		return fmt.Errorf("making a helper: %w", err)
	}
	if _, err := p.step("helper: off", func() error { return c.turnOff(ctx) }); err != nil {
		return err
	}
	disk, err := holder.Disk(ctx)
	if err != nil {
		return err
	}
	spec := r.helperSpec(disk, mend)
	spec.Initrd = r.dir.File(helperPurpose + rundir.InitrdExt)
	if err := packInitrd(kit.Initrd, spec.Initrd, c); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeIfThere(spec.Initrd)) }()
	kit.Initrd = spec.Initrd
	var h *helper.Helper
	_, err = p.step("helper: boot", func() (err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, r.bounds.Helper, fmt.Errorf("the helper did not open the disk within %s", r.bounds.Helper))
		defer cancel()
		h, err = helper.Open(ctx, r.host.Driver, spec, kit)
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.bounds.Cleanup)
		defer cancel()
		err = errors.Join(err, h.Close(cleanup))
	}()
	if err := use(ctx, h); err != nil || !mend {
		return err
	}
	_, err = p.step("helper: end", func() error {
		ctx, cancel := context.WithTimeout(ctx, r.bounds.Helper)
		defer cancel()
		return h.Off(ctx)
	})
	return err
}

// helperSpec has as much memory as the clone: they never run at once.
func (r *run) helperSpec(disk string, mend bool) hypervisor.DomainSpec {
	spec := hypervisor.DomainSpec{
		Name: domainName(r.dir.ID, helperPurpose), RunID: r.dir.ID, RunDir: r.dir.Path,
		Firmware:    hypervisor.BIOS, // it starts the kernel, whatever the guest has
		Accelerator: r.host.Accelerator.Best, MemoryMiB: r.image.MemoryMiB, VCPUs: r.image.VCPUs,
		Disk:    hypervisor.Disk{Path: disk},
		Console: r.dir.File(rundir.HelperConsole), MAC: r.image.MAC,
	}
	if !mend {
		spec.Disk = hypervisor.Disk{Path: r.dir.File(helperPurpose + rundir.DiskExt), Backing: disk}
	}
	return spec
}

// packInitrd adds to the kit's what is known of the clone's files.
func packInitrd(from, to string, c *clone) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("reading the helper's initrd: %w", err)
	}
	initrd := bytes.NewBuffer(content)
	if err := helper.Pack(c.files, initrd); err != nil {
		return err
	}
	if err := os.WriteFile(to, initrd.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the helper's initrd: %w", err)
	}
	return nil
}

// synced is what a kernel writes when it has written everything back as it was asked to.
const synced = "Emergency Sync complete"

// writeBack asks the guest's kernel by the keyboard (SysRq-s) to write to its disk what is only in memory, such as the last lines of
// its journal. It is best effort: one that is dead does not hear, one that is told to be quiet does not answer.
func (c *clone) writeBack(ctx context.Context) {
	keyboard, ok := c.domain.(hypervisor.Keyboard)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.bounds.Quiet)
	defer cancel()
	mark := boot.Mark(c.console)
	if keyboard.Press(ctx, hypervisor.KeyAlt, hypervisor.KeySysRq, hypervisor.KeyS) != nil {
		return
	}
	const interval = 250 * time.Millisecond
	_ = wait.Until(ctx, "the guest to write back", interval, func(context.Context) (bool, error) { // or its time is over
		return strings.Contains(consoleSince(c.console, mark), synced), nil
	})
}

// consoleSince returns what was written to a file since; nothing if it cannot be read.
func consoleSince(path string, offset int64) string {
	const most = 64 << 10
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close() //nolint:errcheck // it was only read
	content := make([]byte, most)
	n, _ := file.ReadAt(content, offset) // it ends before
	return string(content[:n])
}
