package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/accel"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/ovmf"
	"github.com/patchlab/patchlab/harness/undo"
)

// healthy is a host that has everything.
func healthy() Host {
	return Host{
		Find: func(name string) (string, bool) { return "/usr/bin/" + name, true },
		Output: func(_ context.Context, path string, _ ...string) (string, error) {
			return filepath.Base(path) + " version 7.2.22 (Debian)", nil
		},
		Exists:            func(string) bool { return true },
		AvailableMemory:   func() (uint64, error) { return 8 * gib, nil },
		FreeSpace:         func(string) (uint64, error) { return 50 * gib, nil },
		HasSubordinateIDs: func() (bool, error) { return true, nil },
		Firmware:          func() (string, error) { return "/usr/share/OVMF/OVMF_CODE_4M.fd", nil },
		Measure: func(context.Context) (accel.Report, error) {
			return accel.Report{Best: hypervisor.KVM, TCG: time.Second / 2, KVM: time.Second / 10, KVMState: accel.KVMWorks, Slowness: 1}, nil
		},
		Connect: func(context.Context) (string, []string, error) { return "libvirt 9.0.0, QEMU 7.2.22", nil, nil },
		Undo: func(context.Context) (undo.Report, error) {
			return undo.Report{Proven: true, Reason: "it counted on", Checkpoint: 300 * time.Millisecond, Revert: time.Second}, nil
		},
		Images: "/images", Runs: "/runs",
	}
}

// named returns the check of that name.
func named(t *testing.T, checks []Check, name string) Check {
	t.Helper()
	i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no check is called %q in %+v", name, checks)
	}
	return checks[i]
}

func TestAHostWithoutEFIFirmwareIsALabForOtherGuests(t *testing.T) {
	t.Parallel()
	host := healthy()
	host.Firmware = func() (string, error) { return "", fmt.Errorf("%w; install it", ovmf.ErrMissing) }
	checks := Examine(t.Context(), host)
	if got := named(t, checks, "EFI firmware"); got.Status != Warn || !strings.Contains(got.Detail, "those with EFI do not") {
		t.Errorf("the check says %+v", got)
	}
	if !Healthy(checks) || Install(checks, true) != "apt-get install --no-install-recommends ovmf" {
		t.Errorf("healthy %t, remedy %q", Healthy(checks), Install(checks, true))
	}
}

func TestAHealthyHost(t *testing.T) {
	t.Parallel()
	checks := Examine(t.Context(), healthy())
	for _, check := range checks {
		if check.Status != OK || check.Remedy != "" {
			t.Errorf("%+v", check)
		}
	}
	if !Healthy(checks) || Install(checks, true) != "" {
		t.Errorf("it is not healthy, or %q is to be installed", Install(checks, true))
	}
	if got := named(t, checks, "accelerator").Detail; got != "KVM (the canary took 0.5 s emulated, 0.1 s under KVM)" {
		t.Errorf("the accelerator: %s", got)
	}
	if got := named(t, checks, "libvirtd").Detail; got != "7.2.22 (/usr/bin/libvirtd)" {
		t.Errorf("the version: %s", got)
	}
}

func TestCheckpointsAreProvenOrSaidToBeRefused(t *testing.T) {
	t.Parallel()
	const proven = "proven: it counted on (kept in 0.3 s, reverted in 1.0 s)"
	if got := named(t, Examine(t.Context(), healthy()), "checkpoints"); got.Status != OK || got.Detail != proven {
		t.Errorf("the check says %+v", got)
	}
	for what, undone := range map[string]func() (undo.Report, error){
		"its disk was not undone": func() (undo.Report, error) { return undo.Report{Reason: "its disk was not undone"}, nil },
		"no room":                 func() (undo.Report, error) { return undo.Report{}, errors.New("no room") },
	} {
		host := healthy()
		host.Undo = func(context.Context) (undo.Report, error) { return undone() }
		checks := Examine(t.Context(), host)
		if got := named(t, checks, "checkpoints"); got.Status != Warn || !strings.Contains(got.Detail, what) || got.Remedy == "" {
			t.Errorf("the check says %+v", got)
		}
		if !Healthy(checks) {
			t.Error("a host without checkpoints is a lab all the same")
		}
	}
}

func TestABareHostIsToldEverythingAtOnce(t *testing.T) {
	t.Parallel()
	host := healthy()
	host.Find = func(string) (string, bool) { return "", false }
	host.Exists = func(string) bool { return false }
	host.Measure = func(context.Context) (accel.Report, error) {
		t.Error("measured without an emulator")
		return accel.Report{}, nil
	}
	host.Connect = func(context.Context) (string, []string, error) {
		t.Error("connected without libvirt")
		return "", nil, nil
	}
	host.Undo = func(context.Context) (undo.Report, error) {
		t.Error("proven without libvirt")
		return undo.Report{}, nil
	}
	checks := Examine(t.Context(), host)
	if Healthy(checks) {
		t.Error("it is healthy")
	}
	want := "sudo apt-get install --no-install-recommends debian-archive-keyring e2fsprogs fdisk libvirt-daemon " +
		"libvirt-daemon-driver-qemu mmdebstrap qemu-system-x86 qemu-utils uidmap util-linux"
	if diff := cmp.Diff(want, Install(checks, false)); diff != "" {
		t.Error(diff)
	}
	if got := Install(checks, true); strings.HasPrefix(got, "sudo") {
		t.Errorf("root is told to use sudo: %s", got)
	}
}

func TestAForeignLibvirtNeedsNoDaemonOfOurs(t *testing.T) {
	t.Parallel()
	host := healthy()
	host.Foreign = true
	host.Find = func(name string) (string, bool) { return "/usr/bin/" + name, name != "libvirtd" }
	if checks := Examine(t.Context(), host); !Healthy(checks) {
		t.Errorf("%+v", checks)
	}
}

func TestAnotherMachinesLibvirtIsAskedBeforeAnythingIsMeasured(t *testing.T) {
	t.Parallel()
	host := healthy()
	host.Foreign, host.Machine = true, "lab"
	host.Find = func(name string) (string, bool) {
		return "/usr/bin/" + name, !strings.Contains(name, "qemu") && name != "libvirtd"
	}
	host.AvailableMemory = func() (uint64, error) { return 1, nil } // the guests' memory is that machine's
	if checks := Examine(t.Context(), host); !Healthy(checks) {
		t.Errorf("%+v", checks)
	}
	host.Connect = func(context.Context) (string, []string, error) { return "", nil, errors.New("no route") }
	host.Measure = func(context.Context) (accel.Report, error) {
		t.Error("measured on a machine that is not reached")
		return accel.Report{}, nil
	}
	if got := named(t, Examine(t.Context(), host), "libvirt answers"); got.Status != Fail || !strings.Contains(got.Detail, "no route") {
		t.Errorf("%+v", got)
	}
}

func TestRootNeedsNoNamespaces(t *testing.T) {
	t.Parallel()
	host := healthy()
	host.Root = true
	host.HasSubordinateIDs = func() (bool, error) { return false, nil }
	if checks := Examine(t.Context(), host); !Healthy(checks) {
		t.Errorf("%+v", checks)
	}
}

func TestEachLackHasItsRemedy(t *testing.T) {
	t.Parallel()
	refusal := errors.New("refused")
	tests := map[string]struct {
		check  string
		harm   func(*Host)
		status Status
		detail string
	}{
		"an accelerator that lies": {
			"accelerator", func(h *Host) {
				h.Measure = func(context.Context) (accel.Report, error) {
					return accel.Report{
						Best: hypervisor.TCG, TCG: time.Second / 2, KVM: 2 * time.Second, KVMState: accel.KVMTooSlow, Slowness: 6, Reason: "it lies",
					}, nil
				}
			}, Warn, "emulation, about 6 times slower than KVM (the canary took 0.5 s emulated, 2.0 s or more under KVM)",
		},
		"no access to KVM": {
			"accelerator", func(h *Host) {
				h.Measure = func(context.Context) (accel.Report, error) {
					return accel.Report{Best: hypervisor.TCG, TCG: time.Second / 2, KVMState: accel.KVMNoAccess, Slowness: 6}, nil
				}
			}, Warn, "KVM: no access",
		},
		"a canary that does not run": {
			"accelerator", func(h *Host) {
				h.Measure = func(context.Context) (accel.Report, error) { return accel.Report{}, refusal }
			}, Fail, "refused",
		},
		"a libvirt that does not answer": {
			"libvirt answers", func(h *Host) {
				h.Connect = func(context.Context) (string, []string, error) { return "", nil, refusal }
			}, Fail, "refused",
		},
		"a program that does not run": {
			"qemu-img", func(h *Host) {
				h.Output = func(context.Context, string, ...string) (string, error) { return "", refusal }
			}, Fail, "/usr/bin/qemu-img does not run: refused",
		},
		"little memory": {
			"memory", func(h *Host) { h.AvailableMemory = func() (uint64, error) { return 2 * gib, nil } },
			Warn, "2.0 GiB available",
		},
		"too little memory": {
			"memory", func(h *Host) { h.AvailableMemory = func() (uint64, error) { return gib, nil } },
			Fail, "1.0 GiB available",
		},
		"too little space": {
			"space for images", func(h *Host) { h.FreeSpace = func(string) (uint64, error) { return 3 * gib, nil } },
			Fail, "3.0 GiB free in /images",
		},
		"no subordinate ids": {
			"subordinate ids", func(h *Host) { h.HasSubordinateIDs = func() (bool, error) { return false, nil } },
			Fail, "you have none",
		},
		"no user namespaces": {
			"user namespaces", func(h *Host) {
				h.Output = func(_ context.Context, path string, _ ...string) (string, error) {
					if filepath.Base(path) == "unshare" {
						return "", refusal
					}
					return "", nil
				}
			}, Fail, "refused: refused",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := healthy()
			test.harm(&host)
			checks := Examine(t.Context(), host)
			got := named(t, checks, test.check)
			if got.Status != test.status || !strings.Contains(got.Detail, test.detail) || got.Remedy == "" {
				t.Errorf("got %+v, want %s about %q with a remedy", got, test.status, test.detail)
			}
			if Healthy(checks) != (test.status != Fail) {
				t.Errorf("healthy: %v", Healthy(checks))
			}
		})
	}
}

func TestAvailableMemory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meminfo")
	for content, want := range map[string]uint64{
		"MemTotal:  100 kB\nMemAvailable:   42 kB\n": 42 * 1024,
		"MemTotal:  100 kB\n":                        0,
		"MemAvailable: much kB\n":                    0,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := availableMemory(path); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %d (%v), want %d", content, got, err, want)
		}
	}
}

func TestSpaceIsThatOfTheNearestDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if free, err := freeSpace(filepath.Join(dir, "not", "yet")); err != nil || free == 0 {
		t.Errorf("%d bytes (%v)", free, err)
	}
}

func TestSubordinateIDs(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]bool{
		"":                             false,
		"other:100000:65536\n":         false,
		"me:100000:65536\n":            true,
		"other:1:2\n1000:100000:65536": true,
		"me:100000:0\n":                false,
		"me:broken\n":                  false,
	} {
		if got := grants(content, "me", "1000"); got != want {
			t.Errorf("%q: got %v", content, got)
		}
	}
}

func TestProgramsAreFoundBesideThePath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "text"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, found := find("program", []string{"/nonexistent", dir}); got != program || !found {
		t.Errorf("got %q, %v", got, found)
	}
	if got, found := find("text", []string{dir}); found {
		t.Errorf("a text is a program: %q", got)
	}
}
