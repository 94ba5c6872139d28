package drivertest

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// savedGuest is one that was saved, and the disk of the same instant.
type savedGuest struct {
	hypervisor.Saved
	disk string
}

// save makes a guest that greets and beats, and saves it.
func (f fixture) save(t *testing.T, inFile bool) savedGuest {
	t.Helper()
	spec := f.spec()
	if inFile {
		spec.Memory = filepath.Join(f.dir, spec.Name+".ram")
	}
	domain := f.start(t, spec)
	f.wantBeat(t, spec)
	saved := savedGuest{
		Saved: hypervisor.Saved{State: filepath.Join(f.dir, spec.Name+".state"), Memory: spec.Memory},
		disk:  filepath.Join(f.dir, spec.Name+"-saved.qcow2"),
	}
	if err := f.saver(t, domain).Save(t.Context(), saved.State); err != nil {
		t.Fatalf("saving: %v", err)
	}
	wantState(t, domain, hypervisor.StateOff)
	if err := os.Rename(spec.Disk.Path, saved.disk); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(saved.disk, 0o444); err != nil { // others stand on it now
		t.Fatal(err)
	}
	if err := domain.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	for _, path := range []string{saved.State, saved.Memory} {
		if path != "" && !exists(t, path) {
			t.Errorf("%s went with the domain", filepath.Base(path))
		}
	}
	return saved
}

func (f fixture) saver(t *testing.T, domain hypervisor.Domain) hypervisor.Saver {
	t.Helper()
	saver, ok := domain.(hypervisor.Saver)
	if !ok {
		t.Fatal("this driver's domains cannot be saved")
	}
	return saver
}

// resumed describes a domain that goes on.
func (f fixture) resumed(saved savedGuest) hypervisor.DomainSpec {
	spec := f.spec()
	spec.Disk.Backing, spec.Resume = saved.disk, saved.Saved
	return spec
}

// wantBeat waits until the guest has shown that it lives.
func (f fixture) wantBeat(t *testing.T, spec hypervisor.DomainSpec) {
	t.Helper()
	eventually(t, "a beat of the guest", func(context.Context) (bool, error) {
		content, err := os.ReadFile(spec.Console)
		return strings.HasSuffix(string(content), Beat), err
	})
}

func goesOn(f fixture, inFile bool) {
	t := f.t
	saved := f.save(t, inFile)
	spec := f.resumed(saved)
	domain := f.start(t, spec)
	wantState(t, domain, hypervisor.StateRunning)
	wantAddress(t, domain)
	f.wantBeat(t, spec)
	f.wantConsole(t, spec, 0)
}

func bootsAfterGoingOn(f fixture) {
	t := f.t
	spec := f.resumed(f.save(t, true))
	domain := f.start(t, spec)
	f.wantBeat(t, spec)
	if err := domain.Destroy(t.Context()); err != nil {
		t.Fatalf("destroying: %v", err)
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatalf("starting again: %v", err)
	}
	f.wantConsole(t, spec, 1)
	if err := domain.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	f.wantGone(t, spec)
}

func manyGoOn(f fixture) {
	t := f.t
	saved := f.save(t, true)
	files := []string{saved.State, saved.Memory, saved.disk}
	before := sums(t, files)
	specs := []hypervisor.DomainSpec{f.resumed(saved), f.resumed(saved), f.resumed(saved)}
	for _, spec := range specs {
		f.start(t, spec)
	}
	for _, spec := range specs {
		f.wantBeat(t, spec)
		f.wantConsole(t, spec, 0)
	}
	for i, sum := range sums(t, files) {
		if sum != before[i] {
			t.Errorf("%s was written to", filepath.Base(files[i]))
		}
	}
}

func sums(t *testing.T, files []string) [][sha256.Size]byte {
	t.Helper()
	var found [][sha256.Size]byte
	for _, file := range files {
		found = append(found, sha256.Sum256(readFile(t, file)))
	}
	return found
}

func refusesDamagedState(f fixture) {
	t := f.t
	saved := f.save(t, true)
	whole := readFile(t, saved.State)
	for what, content := range map[string][]byte{"cut off": whole[:len(whole)/2], "empty": nil, "of something else": []byte("no state at all")} {
		damaged := saved
		damaged.State = filepath.Join(f.dir, "damaged-"+strings.ReplaceAll(what, " ", "-"))
		if err := os.WriteFile(damaged.State, content, 0o600); err != nil {
			t.Fatal(err)
		}
		spec := f.resumed(damaged)
		domain := f.define(t, spec)
		if err := domain.Start(t.Context()); err == nil {
			t.Errorf("a state that is %s starts", what)
		}
		wantState(t, domain, hypervisor.StateOff, hypervisor.StateCrashed)
		if err := domain.Undefine(t.Context()); err != nil {
			t.Fatalf("undefining: %v", err)
		}
		f.wantGone(t, spec)
	}
	missing := saved
	missing.Memory = filepath.Join(f.dir, "no-such-memory")
	spec := f.resumed(missing)
	if _, err := f.driver.Define(t.Context(), spec); err == nil {
		t.Error("defining without the memory's file succeeded")
	}
	f.wantGone(t, spec)
}

func failedSaveLeavesNothing(f fixture) {
	t := f.t
	domain := f.define(t, f.spec())
	state := filepath.Join(f.dir, "state")
	if err := f.saver(t, domain).Save(t.Context(), state); err == nil {
		t.Error("saving a domain that is off succeeded")
	}
	if exists(t, state) {
		t.Error("a file is left")
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatalf("starting: %v", err)
	}
	if err := os.WriteFile(state, []byte("another guest's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.saver(t, domain).Save(t.Context(), state); !errors.Is(err, os.ErrExist) {
		t.Errorf("saving over another guest's state gives %v", err)
	}
	if string(readFile(t, state)) != "another guest's" {
		t.Error("the other guest's state has changed")
	}
}
