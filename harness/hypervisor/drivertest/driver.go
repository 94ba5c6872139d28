package drivertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

func refusesTakenName(f fixture) {
	t := f.t
	spec := f.spec()
	domain := f.start(t, spec)
	second := spec
	second.RunID = "another run"
	if _, err := f.driver.Define(t.Context(), second); !errors.Is(err, hypervisor.ErrExists) {
		t.Errorf("defining the same again gives %v, want that it exists", err)
	}
	elsewhere := second
	elsewhere.Disk.Path += ".other"
	elsewhere.Console += ".other"
	if _, err := f.driver.Define(t.Context(), elsewhere); !errors.Is(err, hypervisor.ErrExists) {
		t.Errorf("defining the name with other files gives %v, want that it exists", err)
	}
	if exists(t, elsewhere.Disk.Path) || exists(t, elsewhere.Console) {
		t.Error("the refused define left files")
	}
	wantState(t, domain, hypervisor.StateRunning)
	if !exists(t, spec.Disk.Path) || !exists(t, spec.Console) {
		t.Error("the refused define removed the first domain's files")
	}
	if owned := f.mine(t, spec.Name); len(owned) != 1 || owned[0].RunID != spec.RunID {
		t.Errorf("the domain belongs to %+v now", owned)
	}
}

func failedDefineLeavesNothing(f fixture) {
	t := f.t
	withoutBacking := f.spec()
	withoutBacking.Disk.Backing = filepath.Join(f.dir, "no-such-image.qcow2")
	withoutDisk := f.spec()
	withoutDisk.Disk.Backing = ""
	withoutDirectory := f.spec()
	withoutDirectory.Console = filepath.Join(f.dir, "no-such-directory", "console.log")
	withoutSeed := f.spec()
	withoutSeed.Seed = filepath.Join(f.dir, "no-such-seed.iso")
	for what, spec := range map[string]hypervisor.DomainSpec{
		"backing image": withoutBacking, "disk": withoutDisk, "directory for the console": withoutDirectory, "seed": withoutSeed,
	} {
		if _, err := f.driver.Define(t.Context(), spec); err == nil {
			t.Errorf("defining without a %s succeeded", what)
		}
		f.wantGone(t, spec)
		if exists(t, spec.Console) {
			t.Errorf("defining without a %s left the console", what)
		}
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("files are left: %v (%v)", entries, err)
	}
}

// mine lists the domains with the given names.
func (f fixture) mine(t *testing.T, names ...string) []hypervisor.Owned {
	t.Helper()
	all, err := f.driver.Domains(t.Context())
	if err != nil {
		t.Fatalf("listing: %v", err)
	}
	byName := func(a, b hypervisor.Owned) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(all, byName) {
		t.Errorf("the list is not sorted: %v", all)
	}
	return slices.DeleteFunc(all, func(o hypervisor.Owned) bool { return !slices.Contains(names, o.Name) })
}

func listsOwned(f fixture) {
	t := f.t
	running, off := f.spec(), f.spec()
	off.RunID = `a "run" <with> & odd signs`
	f.start(t, running)
	f.define(t, off)
	want := []hypervisor.Owned{
		{Name: running.Name, RunID: running.RunID, RunDir: f.dir, State: hypervisor.StateRunning},
		{Name: off.Name, RunID: off.RunID, RunDir: f.dir, State: hypervisor.StateOff},
	}
	slices.SortFunc(want, func(a, b hypervisor.Owned) int { return strings.Compare(a.Name, b.Name) })
	if diff := cmp.Diff(want, f.mine(t, running.Name, off.Name)); diff != "" {
		t.Error(diff)
	}
}

func looksUp(f fixture) {
	t := f.t
	spec := f.spec()
	f.start(t, spec)
	domain, err := f.driver.Lookup(t.Context(), spec.Name)
	if err != nil {
		t.Fatalf("looking up: %v", err)
	}
	wantState(t, domain, hypervisor.StateRunning)
	if _, err := f.driver.Lookup(t.Context(), spec.Name+"-not"); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("looking up what is not there gives %v", err)
	}
}

func livesTwice(f fixture) {
	t := f.t
	a, b := f.spec(), f.spec()
	first, second := f.start(t, a), f.start(t, b)
	if one, two := wantAddress(t, first), wantAddress(t, second); one == two {
		t.Errorf("both domains are at %s", one)
	}
	f.wantConsole(t, a, 1)
	f.wantConsole(t, b, 1)
	if err := first.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	wantState(t, second, hypervisor.StateRunning)
}

func survivesCancel(f fixture) {
	t := f.t
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	spec := f.spec()
	if _, err := f.driver.Define(ended, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("defining with an ended context gives %v", err)
	}
	f.wantGone(t, spec)

	domain := f.define(t, spec)
	for what, call := range map[string]func(context.Context) error{
		"start":    domain.Start,
		"destroy":  domain.Destroy,
		"undefine": domain.Undefine,
		"state":    func(ctx context.Context) error { _, err := domain.State(ctx); return err },
		"address":  func(ctx context.Context) error { _, err := domain.Address(ctx); return err },
		"domains":  func(ctx context.Context) error { _, err := f.driver.Domains(ctx); return err },
		"lookup":   func(ctx context.Context) error { _, err := f.driver.Lookup(ctx, spec.Name); return err },
	} {
		if err := call(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context gives %v", what, err)
		}
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatalf("starting afterwards: %v", err)
	}
	wantState(t, domain, hypervisor.StateRunning)
	f.cancelsInFlight(t)
}

// cancelsInFlight ends the context while a define is under way: it has succeeded, or nothing of it is left soon.
func (f fixture) cancelsInFlight(t *testing.T) {
	t.Helper()
	spec := f.spec()
	f.clean(t, spec.Name)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		cancel()
	}()
	_, err := f.driver.Define(ctx, spec)
	<-stopped
	if err == nil {
		return
	}
	eventually(t, "the interrupted define to leave nothing", func(ctx context.Context) (bool, error) {
		_, err := f.driver.Lookup(ctx, spec.Name)
		if err != nil && !errors.Is(err, hypervisor.ErrNotFound) {
			return false, err
		}
		return err != nil && !exists(t, spec.Disk.Path), nil
	})
}

func concurrent(f fixture) {
	t := f.t
	const domains, askers = 3, 4
	var group sync.WaitGroup
	for range domains {
		spec := f.spec()
		f.clean(t, spec.Name)
		group.Go(func() { f.liveOnce(t, spec) })
	}
	for range askers {
		group.Go(func() {
			for range 5 {
				if _, err := f.driver.Domains(t.Context()); err != nil {
					t.Errorf("listing meanwhile: %v", err)
				}
			}
		})
	}
	group.Wait()
}

// liveOnce may run outside the test's goroutine.
func (f fixture) liveOnce(t *testing.T, spec hypervisor.DomainSpec) {
	t.Helper()
	domain, err := f.driver.Define(t.Context(), spec)
	if err != nil {
		t.Errorf("defining: %v", err)
		return
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Errorf("starting: %v", err)
	}
	if _, err := domain.Address(t.Context()); err != nil {
		t.Errorf("asking for the address: %v", err)
	}
	if err := domain.Undefine(t.Context()); err != nil {
		t.Errorf("undefining: %v", err)
	}
}

func tellsVersion(f fixture) {
	t := f.t
	version, err := f.driver.Version(t.Context())
	if err != nil || version == "" {
		t.Errorf("the version is %q (%v)", version, err)
	}
}

func closesGently(f fixture) {
	t := f.t
	spec := f.spec()
	f.clean(t, spec.Name)
	other, err := f.Open(t.Context())
	if err != nil {
		t.Fatalf("opening the driver: %v", err)
	}
	domain, err := other.Define(t.Context(), spec)
	if err != nil {
		t.Fatalf("defining: %v", err)
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatalf("starting: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	found, err := f.driver.Lookup(t.Context(), spec.Name)
	if err != nil {
		t.Fatalf("looking up: %v", err)
	}
	wantState(t, found, hypervisor.StateRunning)
}
