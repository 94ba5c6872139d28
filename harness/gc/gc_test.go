package gc_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchlab/patchlab/harness/gc"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/rundir"
)

// lab is a fake host with runs.
type lab struct {
	driver *fake.Driver
	runs   string
	image  string
}

func newLab(t *testing.T) lab {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image.qcow2")
	write(t, image)
	return lab{driver: fake.New(), runs: t.TempDir(), image: image}
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run makes a live run with a running domain.
func (l lab) run(t *testing.T, name string) *rundir.Dir {
	t.Helper()
	dir, err := rundir.Create(l.runs, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() }) // most tests have let go of it already
	domain, err := l.driver.Define(t.Context(), hypervisor.DomainSpec{
		Name: name, RunID: dir.ID, RunDir: dir.Path,
		Disk: hypervisor.Disk{Path: dir.File(rundir.Overlay), Backing: l.image}, Console: dir.File(rundir.Console),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// kill lets go of a run's lock, as the kernel does for a process that ends.
func kill(t *testing.T, dir *rundir.Dir) {
	t.Helper()
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
}

func (l lab) sweep(t *testing.T, kept bool) gc.Swept {
	t.Helper()
	swept, err := gc.Sweep(t.Context(), l.options(kept))
	if err != nil {
		t.Fatal(err)
	}
	return swept
}

func (l lab) options(kept bool) gc.Options {
	return gc.Options{Drivers: []hypervisor.Driver{l.driver}, RunsDir: l.runs, Kept: kept}
}

func (l lab) domains(t *testing.T) []string {
	t.Helper()
	owned, err := l.driver.Domains(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range owned {
		names = append(names, o.Name)
	}
	return names
}

func gone(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func TestADeadRunLosesItsDomainAndDiskButNotItsEvidence(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dead := l.run(t, "dead")
	write(t, dead.File("result.json.new"))
	write(t, dead.File(rundir.Commands))
	kill(t, dead)

	want := gc.Swept{Domains: []string{"dead"}, Files: []string{dead.File("result.json.new")}}
	if diff := cmp.Diff(want, l.sweep(t, false), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if names := l.domains(t); len(names) != 0 {
		t.Errorf("the domains %v are left", names)
	}
	if !gone(t, dead.File(rundir.Overlay)) {
		t.Error("the overlay is left")
	}
	for _, name := range []string{rundir.Console, rundir.Commands, rundir.Facts} {
		if gone(t, dead.File(name)) {
			t.Errorf("the evidence %s is gone", name)
		}
	}
	if again := l.sweep(t, false); !again.Empty() {
		t.Errorf("a second sweep took %+v", again)
	}
}

func TestADiskThatNoDriverKnowsGoes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dead, err := rundir.Create(l.runs, time.Now()) // killed between the overlay and its domain
	if err != nil {
		t.Fatal(err)
	}
	packages := dead.File(rundir.HandPackages, "openssl")
	if err := os.MkdirAll(packages, 0o755); err != nil {
		t.Fatal(err)
	}
	move := dead.File(rundir.Moves + "123")
	if err := os.Mkdir(move, 0o700); err != nil {
		t.Fatal(err)
	}
	checkpoint := dead.File(rundir.Checkpoints, "before-openssl")
	if err := os.MkdirAll(checkpoint, 0o700); err != nil {
		t.Fatal(err)
	}
	half := []string{
		filepath.Join(checkpoint, "state"), dead.File(rundir.Checkpoints, "layer-1.qcow2"),
		filepath.Join(move, "s"), dead.File("baseline.fd"), dead.File("baseline.qcow2"), filepath.Join(packages, "a.deb"), dead.File(rundir.Overlay),
		dead.File(rundir.Facts, "baseline.json.new"), dead.File("seed-run.iso"),
	}
	for _, file := range half {
		write(t, file)
	}
	write(t, dead.File(rundir.Facts, "control.json"))
	kill(t, dead)
	want := slices.Sorted(slices.Values(append(half, move, dead.File(rundir.Checkpoints), checkpoint)))
	if diff := cmp.Diff(gc.Swept{Domains: []string{}, Files: want}, l.sweep(t, false)); diff != "" {
		t.Error(diff)
	}
	if gone(t, dead.File(rundir.Facts, "control.json")) {
		t.Error("the facts are gone")
	}
}

func TestALiveRunIsNotTouched(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	live := l.run(t, "live")
	write(t, live.File("result.json.new"))
	if swept := l.sweep(t, true); !swept.Empty() {
		t.Errorf("took %+v", swept)
	}
	if gone(t, live.File(rundir.Overlay)) || gone(t, live.File("result.json.new")) {
		t.Error("a file of a live run is gone")
	}
	if diff := cmp.Diff([]string{"live"}, l.domains(t)); diff != "" {
		t.Error(diff)
	}
}

func TestAKeptGuestGoesOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	kept := l.run(t, "kept")
	write(t, kept.File(rundir.Kept))
	write(t, kept.File(rundir.Key))
	kill(t, kept)
	if swept := l.sweep(t, false); !swept.Empty() {
		t.Errorf("took %+v unasked", swept)
	}
	want := gc.Swept{Domains: []string{"kept"}, Files: []string{kept.File(rundir.Kept), kept.File(rundir.Key)}}
	if diff := cmp.Diff(want, l.sweep(t, true), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestADomainWhoseRunDirectoryIsGoneGoes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	lost := l.run(t, "lost")
	kill(t, lost)
	if err := os.RemoveAll(lost.Path); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(gc.Swept{Domains: []string{"lost"}}, l.sweep(t, false), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestAnOverlayWithoutADomainGoes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dir, err := rundir.Create(l.runs, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir.File(rundir.Overlay))
	kill(t, dir)
	if diff := cmp.Diff(gc.Swept{Files: []string{dir.File(rundir.Overlay)}}, l.sweep(t, false), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestAFailureDoesNotKeepItFromTheRest(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	stuck, easy := l.run(t, "a-stuck"), l.run(t, "b-easy")
	kill(t, stuck)
	kill(t, easy)
	failure := errors.New("device or resource busy")
	l.driver.FailNext(fake.Undefine, failure)
	swept, err := gc.Sweep(t.Context(), l.options(false))
	if !errors.Is(err, failure) {
		t.Errorf("the error is %v", err)
	}
	left := l.domains(t)
	if len(swept.Domains) != 1 || len(left) != 1 || swept.Domains[0] == left[0] {
		t.Errorf("took %v, left %v", swept.Domains, left)
	}
}

func TestNothingGoesWhileADriverDoesNotAnswer(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dead := l.run(t, "dead")
	kill(t, dead)
	failure := errors.New("libvirt hung up")
	l.driver.FailNext(fake.Domains, failure)
	if _, err := gc.Sweep(t.Context(), l.options(false)); !errors.Is(err, failure) {
		t.Errorf("the error is %v", err)
	}
	if gone(t, dead.File(rundir.Overlay)) {
		t.Error("the disk of a domain that may run is gone")
	}
}

func TestAnInterruptedSweepSaysSo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	kill(t, l.run(t, "dead"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := gc.Sweep(ctx, l.options(false)); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if diff := cmp.Diff([]string{"dead"}, l.domains(t)); diff != "" {
		t.Error(diff)
	}
}

func TestNoRunsAtAll(t *testing.T) {
	t.Parallel()
	swept, err := gc.Sweep(t.Context(), gc.Options{RunsDir: filepath.Join(t.TempDir(), "none")})
	if err != nil || !swept.Empty() {
		t.Errorf("took %+v (%v)", swept, err)
	}
}
