package drivertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

func lives(f fixture) {
	t := f.t
	spec := f.spec()
	domain := f.define(t, spec)
	wantState(t, domain, hypervisor.StateOff)
	if !exists(t, spec.Disk.Path) || !exists(t, spec.Console) {
		t.Error("define made no overlay or no console")
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatalf("starting: %v", err)
	}
	wantState(t, domain, hypervisor.StateRunning)
	address := wantAddress(t, domain)
	if again := wantAddress(t, domain); again != address {
		t.Errorf("the address was %s, is %s", address, again)
	}
	if err := domain.Destroy(t.Context()); err != nil {
		t.Fatalf("destroying: %v", err)
	}
	wantState(t, domain, hypervisor.StateOff)
	if !exists(t, spec.Disk.Path) {
		t.Error("destroy removed the overlay")
	}
	if err := domain.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	if _, err := domain.State(t.Context()); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("the state after undefine gives %v, want that it is not found", err)
	}
	f.wantGone(t, spec)
	if !exists(t, spec.Console) {
		t.Error("undefine removed the console, which is evidence")
	}
}

// wantAddress returns the address after checking that it is a port on this host.
func wantAddress(t *testing.T, domain hypervisor.Domain) string {
	t.Helper()
	address, err := domain.Address(t.Context())
	if err != nil {
		t.Fatalf("asking for the address: %v", err)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" || !net.ParseIP(host).IsLoopback() {
		t.Fatalf("the address is %q, want a port on loopback", address)
	}
	return address
}

func startsOnce(f fixture) {
	t := f.t
	domain := f.start(t, f.spec())
	if err := domain.Start(t.Context()); err == nil {
		t.Error("starting a running domain succeeded")
	}
	wantState(t, domain, hypervisor.StateRunning)
}

func idempotent(f fixture) {
	t := f.t
	spec := f.spec()
	domain := f.start(t, spec)
	for range 2 {
		if err := domain.Destroy(t.Context()); err != nil {
			t.Errorf("destroying: %v", err)
		}
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Errorf("starting again: %v", err)
	}
	for range 2 {
		if err := domain.Undefine(t.Context()); err != nil {
			t.Errorf("undefining, the first time while it runs: %v", err)
		}
	}
	if err := domain.Destroy(t.Context()); err != nil {
		t.Errorf("destroying what is gone: %v", err)
	}
	f.wantGone(t, spec)
}

func undefinesThroughLookup(f fixture) {
	t := f.t
	spec := f.spec()
	f.start(t, spec)
	other := f.open(t)
	domain, err := other.Lookup(t.Context(), spec.Name)
	if err != nil {
		t.Fatalf("looking up: %v", err)
	}
	if err := domain.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	f.wantGone(t, spec)
}

func addressNeedsPower(f fixture) {
	t := f.t
	domain := f.define(t, f.spec())
	if address, err := domain.Address(t.Context()); err == nil {
		t.Errorf("a domain that is off has the address %s", address)
	}
}

func survivesKill(f fixture) {
	t := f.t
	spec := f.spec()
	domain := f.start(t, spec)
	f.Kill(t, f.driver, spec.Name)
	eventually(t, "the killed domain to be told as off", func(ctx context.Context) (bool, error) {
		state, err := domain.State(ctx)
		return state == hypervisor.StateCrashed || state == hypervisor.StateOff, err
	})
	if address, err := domain.Address(t.Context()); err == nil {
		t.Errorf("a killed domain has the address %s", address)
	}
	if err := domain.Destroy(t.Context()); err != nil {
		t.Errorf("destroying: %v", err)
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Errorf("starting again: %v", err)
	}
	wantState(t, domain, hypervisor.StateRunning)
	f.Kill(t, f.driver, spec.Name)
	if err := domain.Undefine(t.Context()); err != nil {
		t.Errorf("undefining right after the kill: %v", err)
	}
	f.wantGone(t, spec)
}

func cutsPower(f fixture) {
	t := f.t
	spec := f.spec()
	domain := f.define(t, spec)
	cutter, ok := domain.(hypervisor.PowerCutter)
	if !ok {
		return // an optional power
	}
	if err := cutter.CutPower(t.Context()); err == nil {
		t.Error("the power of a domain that is off was cut")
	}
	for boots := 1; boots <= 2; boots++ {
		if err := domain.Start(t.Context()); err != nil {
			t.Fatalf("starting: %v", err)
		}
		f.wantConsole(t, spec, boots)
		if err := cutter.CutPower(t.Context()); err != nil {
			t.Fatalf("cutting the power: %v", err)
		}
		wantState(t, domain, hypervisor.StateCrashed, hypervisor.StateOff)
		if address, err := domain.Address(t.Context()); err == nil {
			t.Errorf("a domain without power has the address %s", address)
		}
	}
	if !exists(t, spec.Disk.Path) {
		t.Error("the power cut removed the overlay")
	}
}

func keepsOwnDisk(f fixture) {
	t := f.t
	spec := f.spec()
	content, err := os.ReadFile(f.Backing)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(spec.Disk.Path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(spec.Disk.Path, 0o666); err != nil { // the hypervisor may be another user
		t.Fatal(err)
	}
	spec.Disk.Backing = ""
	domain := f.start(t, spec)
	if err := domain.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	if !exists(t, spec.Disk.Path) {
		t.Error("undefine removed a disk that it had not made")
	}
}

func keepsBacking(f fixture) {
	t := f.t
	digest := func() [sha256.Size]byte {
		content, err := os.ReadFile(f.Backing)
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(content)
	}
	before, owner := digest(), ownerOf(t, f.Backing)
	spec := f.spec()
	domain := f.start(t, spec)
	f.wantConsole(t, spec, 1)
	if err := domain.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	if digest() != before {
		t.Error("the backing image has changed")
	}
	if now := ownerOf(t, f.Backing); now != owner {
		t.Errorf("the backing image belonged to the user %d, belongs to %d: whoever owns it can write to it", owner, now)
	}
}

func ownerOf(t *testing.T, path string) uint32 {
	t.Helper()
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Uid
}

func keepsSeed(f fixture) {
	t := f.t
	spec := f.spec()
	spec.Seed = filepath.Join(f.dir, "seed.iso")
	content := bytes.Repeat([]byte("seed"), 16<<10) // no file system: the guest at hand does not mount it
	if err := os.WriteFile(spec.Seed, content, 0o444); err != nil {
		t.Fatal(err)
	}
	domain := f.start(t, spec)
	f.wantConsole(t, spec, 1)
	if err := domain.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	if got, err := os.ReadFile(spec.Seed); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the seed has changed, or has gone (%v)", err)
	}
	f.wantGone(t, spec)
}

func writesConsole(f fixture) {
	t := f.t
	spec := f.spec()
	domain := f.start(t, spec)
	f.wantConsole(t, spec, 1)
	if err := domain.Destroy(t.Context()); err != nil {
		t.Fatalf("destroying: %v", err)
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatalf("starting again: %v", err)
	}
	f.wantConsole(t, spec, 2)
}

// wantConsole waits until the guest has greeted as often as it was booted.
func (f fixture) wantConsole(t *testing.T, spec hypervisor.DomainSpec, boots int) {
	t.Helper()
	eventually(t, "the guest's output on the console", func(context.Context) (bool, error) {
		content, err := os.ReadFile(spec.Console)
		return strings.Count(string(content), f.Greeting) == boots, err
	})
}

func showsScreen(f fixture) {
	t := f.t
	spec := f.spec()
	domain := f.start(t, spec)
	reader, hasText := domain.(hypervisor.ScreenReader)
	if hasText {
		if text, err := reader.ScreenText(t.Context()); err != nil || strings.ContainsRune(string(text), '\x1b') {
			t.Errorf("the screen's text is %q, %v", text, err)
		}
	}
	screen, ok := domain.(hypervisor.Screenshotter)
	if !ok {
		return // an optional power
	}
	const pictures = 30 // a library was seen to hang at about every seventh
	for range pictures {
		picture, err := screen.Screenshot(t.Context())
		if err != nil {
			t.Fatalf("taking a picture: %v", err)
		}
		if _, err := png.Decode(bytes.NewReader(picture)); err != nil {
			t.Errorf("the picture of %d bytes: %v", len(picture), err)
		}
	}
	if err := domain.Destroy(t.Context()); err != nil {
		t.Fatalf("destroying: %v", err)
	}
	if _, err := screen.Screenshot(t.Context()); err == nil {
		t.Error("a domain that is off shows a screen")
	}
	if hasText {
		if _, err := reader.ScreenText(t.Context()); err == nil {
			t.Error("a domain that is off shows text on its screen")
		}
	}
}

// missesAgent asks the agent of a guest that has none. What an agent answers is tried where there is one: with a real guest.
func missesAgent(f fixture) {
	t := f.t
	domain := f.define(t, f.spec())
	agent, ok := domain.(hypervisor.AgentCaller)
	if !ok {
		return // an optional power
	}
	ping := []byte(`{"execute":"guest-ping"}`)
	if _, err := agent.CallAgent(t.Context(), ping); err == nil || errors.Is(err, hypervisor.ErrNoAgent) {
		t.Errorf("asking a domain that is off gives %v, want the driver's error", err)
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatalf("starting: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := agent.CallAgent(ctx, ping); !errors.Is(err, hypervisor.ErrNoAgent) || ctx.Err() != nil {
		t.Errorf("asking a guest without an agent gives %v, want that none answers", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := agent.CallAgent(ended, ping); !errors.Is(err, hypervisor.ErrNoAgent) || !errors.Is(err, context.Canceled) {
		t.Errorf("asking with an ended context gives %v, want that none answers because it has ended", err)
	}
	wantState(t, domain, hypervisor.StateRunning)
}
