package undo_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/undo"
)

// host is a fake hypervisor whose guests count by themselves.
type host struct {
	*fake.Driver
	spoil  func(spec hypervisor.DomainSpec) // after each revert
	define func(hypervisor.Domain) hypervisor.Domain
}

func newHost() *host {
	h := &host{Driver: fake.New()}
	h.OnStart = func(spec hypervisor.DomainSpec) error { h.live(spec); return nil }
	h.OnRevert = func(spec hypervisor.DomainSpec, _ string) {
		if h.spoil != nil {
			h.spoil(spec)
		}
		h.live(spec)
	}
	return h
}

// live lets a guest count until it has no power any more.
func (h *host) live(spec hypervisor.DomainSpec) {
	go func() {
		for h.Work(spec.Name) == nil {
			<-time.After(200 * time.Millisecond)
		}
	}()
}

func (h *host) Define(ctx context.Context, spec hypervisor.DomainSpec) (hypervisor.Domain, error) {
	domain, err := h.Driver.Define(ctx, spec)
	if err == nil && h.define != nil {
		domain = h.define(domain)
	}
	return domain, err
}

func prove(t *testing.T, h *host, dir string, fresh bool) (undo.Report, error) {
	t.Helper()
	defer func() { <-time.After(time.Second) }() // the guest hears that it has no power
	return undo.Prove(t.Context(), undo.Options{
		Driver: h, Accelerator: hypervisor.TCG, Runs: filepath.Join(dir, "runs"), CacheDir: filepath.Join(dir, "cache"), Fresh: fresh,
		Now: time.Now, Image: func(_ context.Context, _, image string) error { return os.WriteFile(image, nil, 0o600) },
	})
}

func requireNothingLeft(t *testing.T, h *host, dir string) {
	t.Helper()
	domains, err := h.Domains(context.WithoutCancel(t.Context()))
	if err != nil || len(domains) > 0 {
		t.Errorf("domains are left: %v, %v", domains, err)
	}
	if runs, err := filepath.Glob(filepath.Join(dir, "runs", "*")); err != nil || len(runs) > 0 {
		t.Errorf("files are left: %v, %v", runs, err)
	}
}

func TestWhatIsUndoneIsProvenOncePerBoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		for i, fresh := range []bool{false, false, true} {
			report, err := prove(t, h, dir, fresh)
			if err != nil || !report.Proven || report.Cached != (i == 1) {
				t.Errorf("the proof no. %d is %+v, %v", i+1, report, err)
			}
			requireNothingLeft(t, h, dir)
		}
	})
}

// idle reverts by doing nothing.
type idle struct{ hypervisor.Domain }

func (d idle) Checkpoint(context.Context, string) error { return nil }

func (d idle) Revert(context.Context, string) error { return nil }

func (d idle) Checkpoints(context.Context) ([]hypervisor.Checkpoint, error) { return nil, nil }

// bare keeps no checkpoints.
type bare struct{ hypervisor.Domain }

func TestWhatIsNotUndoneIsNoProof(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		arrange func(*host)
		want    string
	}{
		{"nothing is undone", func(h *host) {
			h.define = func(d hypervisor.Domain) hypervisor.Domain { return idle{d} }
		}, "its memory was not undone"},
		{"the disk is not undone", func(h *host) {
			h.spoil = func(spec hypervisor.DomainSpec) { _ = os.WriteFile(spec.Disk.Path, []byte("77"), 0o600) }
		}, "its disk was not undone"},
		{"the guest is dead after the revert", func(h *host) {
			h.spoil = func(spec hypervisor.DomainSpec) { _ = h.Kill(spec.Name) }
		}, "the guest did not go on after the revert"},
		{"no checkpoint can be taken", func(h *host) {
			h.FailNext(fake.Checkpoint, hypervisor.ErrCannotCheckpoint)
		}, "checkpoints are not possible here"},
		{"no revert comes about", func(h *host) {
			h.FailNext(fake.Revert, errors.New("permission denied"))
		}, "no revert came about: revert"},
		{"the hypervisor has no checkpoints", func(h *host) {
			h.define = func(d hypervisor.Domain) hypervisor.Domain { return bare{d} }
		}, "this hypervisor keeps no checkpoints"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				h := newHost()
				if report, err := prove(t, h, dir, false); err != nil || !report.Proven {
					t.Fatalf("without a fault it is %+v, %v", report, err)
				}
				test.arrange(h)
				report, err := prove(t, h, dir, true)
				if err != nil || report.Proven || !strings.Contains(report.Reason, test.want) {
					t.Errorf("got %+v, %v, want no proof because %q", report, err, test.want)
				}
				requireNothingLeft(t, h, dir)
				if mended, err := prove(t, newHost(), dir, false); err != nil || !mended.Proven || mended.Cached {
					t.Errorf("mended, it is %+v, %v", mended, err)
				}
			})
		})
	}
}

func TestAProofThatIsInterruptedSaysNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		ctx, cancel := context.WithCancel(t.Context())
		h.OnCheckpoint = func(hypervisor.DomainSpec, string) { cancel() }
		_, err := undo.Prove(ctx, undo.Options{
			Driver: h, Accelerator: hypervisor.TCG, Runs: filepath.Join(dir, "runs"), Now: time.Now,
			Image: func(_ context.Context, _, image string) error { return os.WriteFile(image, nil, 0o600) },
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it says %v", err)
		}
		<-time.After(time.Second)
		requireNothingLeft(t, h, dir)
	})
}
