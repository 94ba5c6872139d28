package drivertest

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

func opensDisk(f fixture) {
	domain := f.start(f.t, f.spec())
	f.stacks(f.t, domain)
}

func opensDiskAboveCheckpoint(f fixture) {
	c := f.counting()
	c.take("first")
	f.stacks(f.t, c.domain)
	if err := c.domain.Start(f.t.Context()); err != nil {
		f.t.Errorf("starting the domain whose disk was opened: %v", err)
	}
}

// stacks turns a domain off and runs another one on an overlay above its disk, which stays as it is.
func (f fixture) stacks(t *testing.T, domain hypervisor.Domain) {
	t.Helper()
	holder, ok := domain.(hypervisor.DiskHolder)
	if !ok {
		t.Fatal("the disks of this driver's domains cannot be opened")
	}
	if err := domain.Destroy(t.Context()); err != nil {
		t.Fatalf("destroying: %v", err)
	}
	disk, err := holder.Disk(t.Context())
	if err != nil {
		t.Fatalf("looking for the disk: %v", err)
	}
	before := readFile(t, disk)
	spec := f.spec()
	spec.Disk = hypervisor.Disk{Path: filepath.Join(f.dir, "above.qcow2"), Backing: disk}
	above := f.start(t, spec)
	if err := above.Undefine(t.Context()); err != nil {
		t.Errorf("undefining the domain above: %v", err)
	}
	if !bytes.Equal(before, readFile(t, disk)) || exists(t, spec.Disk.Path) {
		t.Errorf("the disk has changed, or what was above it is left")
	}
}

func pressesKeys(f fixture) {
	domain := f.define(f.t, f.spec())
	keyboard, ok := domain.(hypervisor.Keyboard)
	if !ok {
		f.t.Fatal("this driver's domains have no keyboard")
	}
	keys := []hypervisor.Key{hypervisor.KeyAlt, hypervisor.KeySysRq, hypervisor.KeyS}
	if err := keyboard.Press(f.t.Context(), keys...); err == nil {
		f.t.Error("keys of a domain that is off are pressed")
	}
	if err := domain.Start(f.t.Context()); err != nil {
		f.t.Fatalf("starting: %v", err)
	}
	if err := keyboard.Press(f.t.Context(), keys...); err != nil {
		f.t.Errorf("pressing keys: %v", err)
	}
}
