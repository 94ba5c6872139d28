//go:build vmtest

package libvirt_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/counter"
	"github.com/patchlab/patchlab/harness/hypervisor/drivertest"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/hypervisor/ovmf"
	"github.com/patchlab/patchlab/harness/hypervisor/private"
)

// TestBecomeLibvirtd is where this test binary arrives when it starts its private libvirt. Without arguments it is no
// test.
func TestBecomeLibvirtd(t *testing.T) {
	if flag.NArg() == 0 {
		return
	}
	t.Fatal(private.Exec(flag.Args()))
}

func TestConformance(t *testing.T) {
	dir := openDir(t)
	firmware, err := ovmf.Find(0)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := private.Ensure(t.Context(), private.Options{
		Dir: filepath.Join(openDir(t), "lv"), MaskKVM: true, Idle: 2 * time.Second,
		Self: []string{os.Args[0], "-test.run=^TestBecomeLibvirtd$", "--"},
	})
	if err != nil {
		t.Fatal(err)
	}
	drivertest.Run(t, drivertest.Bench{
		Open: func(ctx context.Context) (hypervisor.Driver, error) {
			return libvirt.Connect(ctx, libvirt.Options{URI: instance.URI, Owner: instance.Owner})
		},
		Dir:         openDir,
		Backing:     bootImage(t, dir, "boot", drivertest.BootDisk()),
		Counting:    bootImage(t, dir, "counting", counter.Disk()),
		Greeting:    drivertest.BootGreeting,
		Variables:   firmware.Variables,
		Accelerator: hypervisor.TCG,
		Kill: func(t *testing.T, _ hypervisor.Driver, name string) {
			t.Helper()
			killQEMU(t, name)
		},
	})
}

// openDir is a short temporary directory that QEMU's user may enter.
func openDir(t *testing.T) string {
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
	return dir
}

func bootImage(t *testing.T, dir, name string, disk []byte) string {
	t.Helper()
	raw, image := filepath.Join(dir, name+".raw"), filepath.Join(dir, name+".qcow2")
	if err := os.WriteFile(raw, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-O", "qcow2", raw, image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if err := os.Chmod(image, 0o644); err != nil {
		t.Fatal(err)
	}
	return image
}

// killQEMU finds the domain's process by its command line and kills it.
func killQEMU(t *testing.T, name string) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		commandLine, err := os.ReadFile(process)
		if err != nil || !bytes.Contains(commandLine, []byte("guest="+name+",")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(process)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no process runs the domain %s", name)
}
