package drivertest

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// efiSpec describes a domain with EFI variables of its own. The guest at hand cannot be started by EFI firmware; the domain runs
// all the same.
func (f fixture) efiSpec(from string) hypervisor.DomainSpec {
	spec := f.spec()
	spec.Firmware = hypervisor.EFI
	spec.MemoryMiB = 128 // the firmware itself needs more than the guest
	spec.Variables = hypervisor.Variables{Path: filepath.Join(f.dir, spec.Name+".fd"), From: from}
	return spec
}

func ownsVariables(f fixture) {
	t := f.t
	image := readFile(t, f.Variables)
	spec := f.efiSpec(f.Variables)
	f.define(t, spec)
	if !bytes.Equal(readFile(t, spec.Variables.Path), image) {
		t.Error("the domain's variables are no copy of the image's")
	}
	// A handle that did not define the domain knows its files, too.
	domain, err := f.driver.Lookup(t.Context(), spec.Name)
	if err != nil {
		t.Fatalf("looking up: %v", err)
	}
	powerCycle(t, domain)
	mark(t, spec.Variables.Path)
	powerCycle(t, domain)
	if !isMarked(t, spec.Variables.Path) {
		t.Error("the variables were made anew by the second start")
	}
	if err := domain.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	f.wantGone(t, spec)
	if sha256.Sum256(readFile(t, f.Variables)) != sha256.Sum256(image) {
		t.Error("the image's variables have changed")
	}
}

func takesFirmwaresVariables(f fixture) {
	t := f.t
	spec := f.efiSpec("")
	domain := f.define(t, spec)
	if !exists(t, spec.Variables.Path) {
		t.Error("define made no variables")
	}
	powerCycle(t, domain)
	if err := domain.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	f.wantGone(t, spec)
}

func refusesBadVariables(f fixture) {
	t := f.t
	missing := f.efiSpec(filepath.Join(f.dir, "no-such-variables.fd"))
	nowhere := f.efiSpec(f.Variables)
	nowhere.Variables.Path = ""
	for what, spec := range map[string]hypervisor.DomainSpec{"missing": missing, "with no place": nowhere} {
		if _, err := f.driver.Define(t.Context(), spec); err == nil {
			t.Errorf("defining with variables %s succeeded", what)
		}
		f.wantGone(t, spec)
	}
	taken := f.efiSpec(f.Variables)
	if err := os.WriteFile(taken.Variables.Path, []byte("another domain's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.driver.Define(t.Context(), taken); err == nil {
		t.Error("defining over another domain's variables succeeded")
	}
	if string(readFile(t, taken.Variables.Path)) != "another domain's" {
		t.Error("the other domain's variables have changed")
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("files are left: %v (%v)", entries, err)
	}
}

func powerCycle(t *testing.T, domain hypervisor.Domain) {
	t.Helper()
	if err := domain.Start(t.Context()); err != nil {
		t.Fatalf("starting: %v", err)
	}
	wantState(t, domain, hypervisor.StateRunning)
	if err := domain.Destroy(t.Context()); err != nil {
		t.Fatalf("destroying: %v", err)
	}
}

// mark changes the last byte, which belongs to the firmware's spare room.
func mark(t *testing.T, path string) {
	t.Helper()
	content := readFile(t, path)
	content[len(content)-1] = 'm'
	file, err := os.OpenFile(path, os.O_WRONLY, 0) // keeps its owner
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func isMarked(t *testing.T, path string) bool {
	t.Helper()
	return bytes.HasSuffix(readFile(t, path), []byte{'m'})
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
