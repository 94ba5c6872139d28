//go:build vmtest

package helper_test

import (
	"bytes"
	stdcmp "cmp"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/dirs"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/helper"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/hypervisor/private"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/probe/embedded"
)

// TestBecomeLibvirtd is where this test binary arrives when it starts its private libvirt. Without arguments it is no test.
func TestBecomeLibvirtd(t *testing.T) {
	if flag.NArg() == 0 {
		return
	}
	t.Fatal(private.Exec(flag.Args()))
}

// bench is a libvirt, an image, and a directory that QEMU's user may enter.
type bench struct {
	driver *libvirt.Driver
	image  image.Image
	dir    string
	kit    helper.Kit
	known  *probe.Files
}

func newBench(t *testing.T) bench {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pl") //nolint:usetesting // t.TempDir is too long for sockets, and closed to QEMU's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	b := bench{dir: dir}
	places, err := dirs.Find(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	// A built image; PATCHLAB_TEST_IMAGE names another one.
	name := stdcmp.Or(os.Getenv("PATCHLAB_TEST_IMAGE"), "debian-12-web")
	if b.image, err = image.Open(t.Context(), &image.Store{Dir: places.Images}, name); err != nil {
		t.Fatal(err)
	}
	instance, err := private.Ensure(t.Context(), private.Options{
		Dir: filepath.Join(dir, "lv"), MaskKVM: true, Idle: 2 * time.Second,
		Self: []string{os.Args[0], "-test.run=^TestBecomeLibvirtd$", "--"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.driver, err = libvirt.Connect(t.Context(), libvirt.Options{URI: instance.URI, Owner: instance.Owner}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.driver.Close(); err != nil {
			t.Error(err)
		}
	})
	b.makeKit(t)
	return b
}

func (b *bench) makeKit(t *testing.T) {
	t.Helper()
	raw := filepath.Join(b.dir, "raw")
	size, err := b.image.Flatten(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close() //nolint:errcheck // it was only read
	root, err := probe.FindRoot(disk, size)
	if err != nil {
		t.Fatal(err)
	}
	if b.known, err = probe.DiskFiles(t.Context(), disk, size, time.Now); err != nil {
		t.Fatal(err)
	}
	program, err := embedded.Probe()
	if err != nil {
		t.Fatal(err)
	}
	b.kit = helper.Kit{Kernel: filepath.Join(b.dir, "kernel"), Initrd: filepath.Join(b.dir, "initrd")}
	made, err := helper.Make(root, program)
	if err != nil {
		t.Fatal(err)
	}
	initrd := bytes.NewBuffer(made.Initrd)
	if err := errors.Join(helper.Pack(b.known, initrd), os.WriteFile(b.kit.Kernel, made.Kernel, 0o644), os.WriteFile(b.kit.Initrd, initrd.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(raw); err != nil {
		t.Fatal(err)
	}
}

// open opens a disk, which is an overlay if it has a backing image.
func (b *bench) open(t *testing.T, name string, disk hypervisor.Disk) *helper.Helper {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	console := filepath.Join(b.dir, name+".log")
	began := time.Now()
	h, err := helper.Open(ctx, b.driver, hypervisor.DomainSpec{
		Name: "patchlab-test-" + name, RunID: "test", RunDir: b.dir, Firmware: hypervisor.BIOS, Accelerator: hypervisor.TCG,
		MemoryMiB: 512, VCPUs: 1, Disk: disk, Console: console, MAC: "52:54:00:00:00:01",
	}, b.kit)
	if err != nil {
		said, _ := os.ReadFile(console)
		t.Fatalf("%v; its console:\n%s", err, said)
	}
	t.Logf("open after %v: %+v", time.Since(began), h.Opened)
	return h
}

func run(t *testing.T, h *helper.Helper, line string) string {
	t.Helper()
	began := time.Now()
	result, err := h.Run(t.Context(), line, 5*time.Minute)
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("%s: %v, exit %d: %s", line, err, result.ExitCode, result.Stderr)
	}
	t.Logf("%s: %v", line, time.Since(began))
	return strings.TrimSpace(string(result.Stdout))
}

func mends(t *testing.T, h *helper.Helper) []helper.Mend {
	t.Helper()
	found, err := helper.Mends(t.Context(), func(ctx context.Context, line string) (string, error) {
		result, err := h.Run(ctx, line, time.Minute)
		if err == nil {
			err = result.Err(guest.Command{Line: line})
		}
		return string(result.Stdout), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestADiskIsOpenedAndRead(t *testing.T) {
	b := newBench(t)
	dead := filepath.Join(b.dir, "dead.qcow2")
	h := b.open(t, "evidence", hypervisor.Disk{Path: dead, Backing: b.image.Disk})
	began := time.Now()
	reading, err := h.Facts(t.Context(), b.known)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("facts after %v: %d, %d files sent, notes %v", time.Since(began), reading.Facts.Len(), reading.Sent, reading.Notes)
	for _, kind := range []fact.Kind{fact.KindPackage, fact.KindUnit, fact.KindFile, fact.KindUser, fact.KindKernel} {
		if len(reading.Facts.OfKind(kind)) == 0 {
			t.Errorf("no %s facts", kind)
		}
	}
	if got := run(t, h, "cat /etc/hostname; journalctl --directory=/var/log/journal --list-boots"); got == "" {
		t.Error("it says nothing")
	}
	if got := mends(t, h); len(got) > 0 {
		t.Errorf("a sound system is mended: %v", got)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); err == nil {
		t.Error("the throwaway overlay is still there")
	}
}

func TestADiskIsMended(t *testing.T) {
	b := newBench(t)
	dead := filepath.Join(b.dir, "dead.qcow2")
	if output, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", b.image.Disk, dead).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if err := os.Chmod(dead, 0o666); err != nil {
		t.Fatal(err)
	}
	h := b.open(t, "repair", hypervisor.Disk{Path: dead})
	if sound := mends(t, h); len(sound) > 0 {
		t.Errorf("a sound system is mended: %v", sound)
	}
	run(t, h, "rm /boot/initrd.img-*; : >/boot/grub/grub.cfg; echo 'UUID=0b0e9d6c-5f0e-4a5e-9a57-3f1a9d1f7c11 /srv ext4 defaults 0 2' >>/etc/fstab")
	broken := mends(t, h)
	var why []string
	for _, m := range broken {
		run(t, h, m.Line)
		why = append(why, strings.Fields(m.Why)[0]+" "+strings.Fields(m.Line)[0])
	}
	if diff := cmp.Diff([]string{"line sed", "kernel update-initramfs", "the update-grub"}, why); diff != "" {
		t.Errorf("mended: %v\n%s", broken, diff)
	}
	if left := mends(t, h); len(left) > 0 {
		t.Errorf("there is still to be mended: %v", left)
	}
	before := run(t, h, "grep root= /boot/grub/grub.cfg; ls /boot")
	began := time.Now()
	if err := errors.Join(h.Off(t.Context()), h.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Logf("off after %v", time.Since(began))
	h = b.open(t, "again", hypervisor.Disk{Path: dead})
	if after := run(t, h, "grep root= /boot/grub/grub.cfg; ls /boot"); after != before {
		t.Errorf("what was mended is\n%s\nafterwards, and was\n%s", after, before)
	} else {
		t.Log(after)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
