//go:build vmtest

package private

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/wait"
)

const patience = time.Minute

// options for a libvirt in a directory of its own, which is gone when the test ends.
func options(t *testing.T) Options {
	t.Helper()
	top, err := os.MkdirTemp("/tmp", "pl") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(top, 0o711); err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Dir: filepath.Join(top, "lv"), MaskKVM: true, Idle: 2 * time.Second,
		Self: []string{os.Args[0], "-test.run=^TestExec$", "--"},
	}
	t.Cleanup(func() {
		wantIdleEnd(t, opts.Dir)
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	return opts
}

// daemon returns the process of the libvirt in dir, or 0.
func daemon(t *testing.T, dir string) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "run", "libvirt", "libvirtd.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// wantIdleEnd waits until the libvirt has ended itself, as nobody uses it.
func wantIdleEnd(t *testing.T, dir string) {
	t.Helper()
	pid := daemon(t, dir)
	if pid == 0 {
		return
	}
	wantEnd(t, pid)
}

func wantEnd(t *testing.T, pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	err := wait.Until(ctx, "libvirtd to end", 50*time.Millisecond, func(context.Context) (bool, error) {
		return syscall.Kill(pid, 0) != nil, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func connect(t *testing.T, instance Instance) *libvirt.Driver {
	t.Helper()
	driver, err := libvirt.Connect(t.Context(), libvirt.Options{URI: instance.URI, Owner: instance.Owner})
	if err != nil {
		t.Fatal(err)
	}
	return driver
}

func TestCallersAtOnceShareOneLibvirtThatEndsWhenUnused(t *testing.T) {
	opts := options(t)
	var group sync.WaitGroup
	instances := make([]Instance, 3)
	for i := range instances {
		group.Go(func() {
			var err error
			if instances[i], err = Ensure(t.Context(), opts); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, other := range instances[1:] {
		if diff := cmp.Diff(instances[0], other); diff != "" {
			t.Error(diff)
		}
	}
	t.Logf("%+v", instances[0])
	pid := daemon(t, opts.Dir)
	driver := connect(t, instances[0])
	if version, err := driver.Version(t.Context()); err != nil || !strings.HasPrefix(version, "libvirt ") {
		t.Errorf("the version is %q (%v)", version, err)
	}
	if err := driver.Close(); err != nil {
		t.Error(err)
	}
	wantIdleEnd(t, opts.Dir)

	if _, err := Ensure(t.Context(), opts); err != nil {
		t.Fatalf("starting it anew: %v", err)
	}
	if again := daemon(t, opts.Dir); again == pid || again == 0 {
		t.Errorf("the libvirt was %d, is %d", pid, again)
	}
}

func TestDomainsOutliveTheirLibvirt(t *testing.T) {
	opts := options(t)
	instance, err := Ensure(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	driver := connect(t, instance)
	spec := spec(t, filepath.Dir(opts.Dir))
	domain, err := driver.Define(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	address, err := domain.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	pid := daemon(t, opts.Dir)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, pid)
	if err := driver.Close(); err != nil {
		t.Error(err)
	}
	if instance, err = Ensure(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	driver = connect(t, instance)
	defer func() {
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	}()
	found, err := driver.Lookup(t.Context(), spec.Name)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := found.State(t.Context()); state != hypervisor.StateRunning || err != nil {
		t.Errorf("the domain is %s (%v)", state, err)
	}
	if again, err := found.Address(t.Context()); again != address {
		t.Errorf("the address was %s, is %s (%v)", address, again, err)
	}
	if err := found.Undefine(t.Context()); err != nil {
		t.Error(err)
	}
}

func spec(t *testing.T, dir string) hypervisor.DomainSpec {
	t.Helper()
	backing := filepath.Join(dir, "empty.qcow2")
	if output, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", backing, "1M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if err := os.Chmod(backing, 0o644); err != nil {
		t.Fatal(err)
	}
	return hypervisor.DomainSpec{
		Name: "one", RunID: "r", RunDir: dir, Firmware: hypervisor.BIOS, Accelerator: hypervisor.TCG,
		MemoryMiB: 64, VCPUs: 1, MAC: "52:54:00:12:34:56",
		Disk:    hypervisor.Disk{Path: filepath.Join(dir, "disk.qcow2"), Backing: backing},
		Console: filepath.Join(dir, "console.log"),
	}
}

func TestWithoutMaskingTheAnswerToKVMIsTheAccounts(t *testing.T) {
	opts := options(t)
	opts.MaskKVM = false
	instance, err := Ensure(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	account, err := layout{dir: opts.Dir}.account()
	if err != nil {
		t.Fatal(err)
	}
	_, want, err := account.kvmAccess(kvmDevice)
	if err != nil {
		t.Fatal(err)
	}
	if instance.KVM != want {
		t.Errorf("KVM %v, want %v; %q", instance.KVM, want, instance.Notes)
	}
}
