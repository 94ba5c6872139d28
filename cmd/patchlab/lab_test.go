package main

import (
	"context"
	"errors"
	"testing"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/dirs"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/hypervisor/private"
)

func TestTheRuntimeDirectoryIsShortEnoughForTheSocketsInIt(t *testing.T) {
	if dirs.MaxRuntime > private.MaxDir {
		t.Errorf("a runtime directory may have %d bytes, the private libvirt's %d", dirs.MaxRuntime, private.MaxDir)
	}
}

// mortal is a driver whose libvirt may die.
type mortal struct {
	hypervisor.Driver
	dead, closed bool
}

func (m *mortal) Version(ctx context.Context) (string, error) {
	if m.dead {
		return "", errors.New("libvirt hung up in the middle of the call")
	}
	return m.Driver.Version(ctx)
}

func (m *mortal) Close() error {
	m.closed = true
	return m.Driver.Close()
}

func TestAHostWhoseLibvirtHasDiedIsOpenedAnew(t *testing.T) {
	t.Parallel()
	var opened []*mortal
	var notes []string
	shared := sharedHost{
		open: func(context.Context) (harness.Host, error) {
			driver := &mortal{Driver: fake.New()}
			opened = append(opened, driver)
			return harness.Host{Driver: driver}, nil
		},
		note: func(text string) { notes = append(notes, text) },
	}
	for range 2 {
		if host, err := shared.get(t.Context()); err != nil || host.Driver != opened[0] {
			t.Fatalf("got %v (%v)", host.Driver, err)
		}
	}
	opened[0].dead = true
	host, err := shared.get(t.Context())
	if err != nil || len(opened) != 2 || host.Driver != opened[1] || !opened[0].closed || len(notes) != 1 {
		t.Errorf("opened %d times, closed %v, noted %q (%v)", len(opened), opened[0].closed, notes, err)
	}
	if err := shared.close(); err != nil || !opened[1].closed {
		t.Errorf("closing: %v", err)
	}
}
