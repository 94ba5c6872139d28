package main

import (
	"testing"

	"github.com/patchlab/patchlab/harness/dirs"
	"github.com/patchlab/patchlab/harness/hypervisor/private"
)

func TestTheRuntimeDirectoryIsShortEnoughForTheSocketsInIt(t *testing.T) {
	if dirs.MaxRuntime > private.MaxDir {
		t.Errorf("a runtime directory may have %d bytes, the private libvirt's %d", dirs.MaxRuntime, private.MaxDir)
	}
}
