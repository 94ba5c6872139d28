// Package drivertest is the conformance suite that every driver passes, written from the contract in package hypervisor.
package drivertest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/wait"
)

// Bench is what the suite needs of a driver under test.
type Bench struct {
	// Open returns a driver. All of them see the same domains.
	Open func(ctx context.Context) (hypervisor.Driver, error)
	// Dir returns a new directory that the hypervisor's processes can reach.
	Dir func(t *testing.T) string
	// Backing is a qcow2 image whose guest writes Greeting to its first serial port at each boot and from then on [Beat] now
	// and then.
	Backing  string
	Greeting string
	// Counting is another one, with the guest of package counter; Work has that guest count once where it does not by itself.
	Counting string
	Work     func(t *testing.T, driver hypervisor.Driver, name string)
	// Variables is a file of EFI variables that belong to the driver's firmware.
	Variables string
	// Kill ends the process of a running domain from outside, without asking the driver.
	Kill func(t *testing.T, driver hypervisor.Driver, name string)
	// Accelerator for the domains.
	Accelerator hypervisor.Accelerator
}

// patience bounds waiting for what happens outside the driver, such as a guest's output. It is reached only on failure.
const patience = time.Minute

// pollEvery is how often is looked whether it has happened.
const pollEvery = 50 * time.Millisecond

// Run checks the driver against the contract.
func Run(t *testing.T, bench Bench) {
	t.Helper()
	cases := []struct {
		name string
		test func(fixture)
	}{
		{"a domain lives from define to undefine", lives},
		{"start fails on a domain that is on", startsOnce},
		{"destroy and undefine may be repeated", idempotent},
		{"a name that is taken is refused and nothing is lost", refusesTakenName},
		{"a define that fails leaves nothing", failedDefineLeavesNothing},
		{"the list tells to which run a domain belongs", listsOwned},
		{"lookup finds a domain and only that", looksUp},
		{"a handle from lookup undefines as well as the first", undefinesThroughLookup},
		{"an address needs a running domain", addressNeedsPower},
		{"a killed domain is off, not an error", survivesKill},
		{"a power cut ends a running domain, and the next start boots", cutsPower},
		{"a disk without backing stays", keepsOwnDisk},
		{"the backing image is never written", keepsBacking},
		{"EFI variables are the domain's own and last as long as it", ownsVariables},
		{"EFI variables come from the firmware when there is no image", takesFirmwaresVariables},
		{"EFI variables that cannot be made are refused", refusesBadVariables},
		{"a seed is read and stays", keepsSeed},
		{"the console receives what the guest writes, over all boots", writesConsole},
		{"two domains live at once", livesTwice},
		{"a cancelled context leaves the driver usable", survivesCancel},
		{"calls may be concurrent", concurrent},
		{"a saved guest goes on where it stood, its RAM in a file", func(f fixture) { goesOn(f, true) }},
		{"a saved guest goes on where it stood, its RAM in the state", func(f fixture) { goesOn(f, false) }},
		{"a domain made of a saved one boots at its second start", bootsAfterGoingOn},
		{"many go on from one saved guest, which stays as it is", manyGoOn},
		{"a saved guest that is damaged does not start", refusesDamagedState},
		{"a guest that cannot be saved leaves no file", failedSaveLeavesNothing},
		{"a checkpoint lets the guest go on, and goes with the domain", keepsCheckpoint},
		{"a revert undoes what came after the checkpoint, as often as wanted", revertsToCheckpoint},
		{"a revert leads to any checkpoint, in any order", revertsInAnyOrder},
		{"a revert turns a domain on that is off", revertsWhatIsOff},
		{"the power may be cut after a checkpoint", cutsPowerAfterCheckpoint},
		{"a revert through a handle from lookup is as good", revertsThroughLookup},
		{"a checkpoint that is not possible is refused, and the guest lives on", refusesCheckpoint},
		{"a checkpoint that is cut short lets the guest go on", cutShortCheckpoint},
		{"a revert brings EFI variables back", revertsVariables},
		{"a screenshot is a PNG", showsScreen},
		{"a guest without an agent is told as such, and in time", missesAgent},
		{"the guest's port is reached while the domain runs", reachesChannel},
		{"keys are pressed while the domain runs", pressesKeys},
		{"the disk of a domain that is off is opened by another one", opensDisk},
		{"the disk above a checkpoint is opened by another one", opensDiskAboveCheckpoint},
		{"the version is told", tellsVersion},
		{"a closed driver leaves its domains alone", closesGently},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.test(newFixture(t, bench))
		})
	}
}

// fixture is one case: its test, the bench, a driver and a directory.
type fixture struct {
	Bench
	t      *testing.T
	driver hypervisor.Driver
	dir    string
}

func newFixture(t *testing.T, bench Bench) fixture {
	t.Helper()
	f := fixture{Bench: bench, t: t, dir: bench.Dir(t)}
	f.driver = f.open(t)
	return f
}

// open returns a further driver, which is closed when the test ends.
func (f fixture) open(t *testing.T) hypervisor.Driver {
	t.Helper()
	driver, err := f.Open(t.Context())
	if err != nil {
		t.Fatalf("opening the driver: %v", err)
	}
	t.Cleanup(func() {
		if err := driver.Close(); err != nil {
			t.Errorf("closing the driver: %v", err)
		}
	})
	return driver
}

// spec describes a small domain with a name that no other test uses.
func (f fixture) spec() hypervisor.DomainSpec {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails, crypto/rand says
	name := "drivertest-" + hex.EncodeToString(random[:])
	return hypervisor.DomainSpec{
		Name: name, RunID: "run-of-" + name, RunDir: f.dir,
		Firmware: hypervisor.BIOS, Accelerator: f.Accelerator, MemoryMiB: 64, VCPUs: 1,
		Disk:    hypervisor.Disk{Path: filepath.Join(f.dir, name+".qcow2"), Backing: f.Backing},
		Console: filepath.Join(f.dir, name+".log"),
		MAC:     "52:54:00:12:34:56",
	}
}

// define makes a domain that is gone when the test ends.
func (f fixture) define(t *testing.T, spec hypervisor.DomainSpec) hypervisor.Domain {
	t.Helper()
	domain, err := f.driver.Define(t.Context(), spec)
	if err != nil {
		t.Fatalf("defining: %v", err)
	}
	f.clean(t, spec.Name)
	return domain
}

// clean undefines whatever has the name when the test ends, through a driver of its own: a test may break the other.
func (f fixture) clean(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := f.undefine(ctx, name); err != nil {
			t.Errorf("cleaning up %s: %v", name, err)
		}
	})
}

func (f fixture) undefine(ctx context.Context, name string) (err error) {
	driver, err := f.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, driver.Close()) }()
	domain, err := driver.Lookup(ctx, name)
	if errors.Is(err, hypervisor.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return domain.Undefine(ctx)
}

func (f fixture) start(t *testing.T, spec hypervisor.DomainSpec) hypervisor.Domain {
	t.Helper()
	domain := f.define(t, spec)
	if err := domain.Start(t.Context()); err != nil {
		t.Fatalf("starting: %v", err)
	}
	return domain
}

func wantState(t *testing.T, domain hypervisor.Domain, want ...hypervisor.State) {
	t.Helper()
	got, err := domain.State(t.Context())
	if err != nil {
		t.Fatalf("asking for the state: %v", err)
	}
	if !slices.Contains(want, got) {
		t.Fatalf("the domain is %s, want %v", got, want)
	}
}

// wantGone checks that neither the domain nor a file of its own is left.
func (f fixture) wantGone(t *testing.T, spec hypervisor.DomainSpec) {
	t.Helper()
	if _, err := f.driver.Lookup(t.Context(), spec.Name); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("looking up the domain gives %v, want that it is not found", err)
	}
	if exists(t, spec.Disk.Path) {
		t.Error("the overlay is left")
	}
	if spec.Variables.Path != "" && exists(t, spec.Variables.Path) {
		t.Error("the EFI variables are left")
	}
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func eventually(t *testing.T, what string, condition func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := wait.Until(ctx, what, pollEvery, condition); err != nil {
		t.Fatal(err)
	}
}
