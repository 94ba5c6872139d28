package drivertest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/counter"
)

// counting is a running guest of which checkpoints can be taken.
type counting struct {
	fixture
	spec   hypervisor.DomainSpec
	domain hypervisor.Domain
}

func (f fixture) counting() counting {
	spec := f.spec()
	spec.Disk.Backing = f.Counting
	spec.Checkpoints = filepath.Join(f.dir, spec.Name+"-checkpoints")
	c := counting{f, spec, f.start(f.t, spec)}
	c.countFrom(0)
	return c
}

// countFrom waits until the guest tells a count that it begins to tell after now, and that is at least as high.
func (c counting) countFrom(least uint16) (last counter.Count) {
	c.t.Helper()
	begin := len(readFile(c.t, c.spec.Console))
	eventually(c.t, "the guest to count", func(context.Context) (bool, error) {
		if c.Work != nil {
			c.Work(c.t, c.driver, c.spec.Name)
		}
		told := c.toldSince(begin)
		if len(told) == 0 {
			return false, nil
		}
		last = told[len(told)-1]
		return last.Memory >= least, nil
	})
	if !last.Consistent() {
		c.t.Errorf("the guest counts %v: its memory and its disk are not of one instant", last)
	}
	return last
}

// toldSince reads the console from a place.
func (c counting) toldSince(begin int) []counter.Count {
	c.t.Helper()
	return counter.ToldSince(string(readFile(c.t, c.spec.Console)), begin)
}

func (c counting) checkpointer() hypervisor.Checkpointer {
	c.t.Helper()
	domain, ok := c.domain.(hypervisor.Checkpointer)
	if !ok {
		c.t.Fatal("this driver's domains cannot be brought back")
	}
	return domain
}

// span is the counts between which a checkpoint was taken.
type span struct{ before, after uint16 }

func (c counting) take(name string) span {
	c.t.Helper()
	before := c.countFrom(0).Memory
	if err := c.checkpointer().Checkpoint(c.t.Context(), name); err != nil {
		c.t.Fatalf("taking checkpoint %s: %v", name, err)
	}
	told := counter.Told(string(readFile(c.t, c.spec.Console)))
	return span{before, told[len(told)-1].Memory}
}

// revert brings the guest back after it has gone further, and checks from where it counts on.
func (c counting) revert(name string, to span) {
	c.t.Helper()
	begin := len(readFile(c.t, c.spec.Console))
	if err := c.checkpointer().Revert(c.t.Context(), name); err != nil {
		c.t.Fatalf("reverting to %s: %v", name, err)
	}
	wantState(c.t, c.domain, hypervisor.StateRunning)
	wantAddress(c.t, c.domain)
	c.countFrom(0)
	// Whatever it told before is higher. Of the first count afterwards it may have told the beginning before the checkpoint.
	if first := counter.Lowest(c.toldSince(begin)); first.Memory < to.before || first.Memory > to.after+2 || !first.Consistent() {
		c.t.Errorf("after the revert to %s the guest counts %v, want from %d to %d", name, first, to.before, to.after+2)
	}
	if bytes.Contains(readFile(c.t, c.spec.Console)[begin:], []byte(c.Greeting)) {
		c.t.Error("the guest was booted")
	}
}

// far is so much later that nobody takes it for the checkpoint.
func (s span) far() uint16 { return s.after + 6 }

func keepsCheckpoint(f fixture) {
	t, c := f.t, f.counting()
	address := wantAddress(t, c.domain)
	c.take("one")
	wantState(t, c.domain, hypervisor.StateRunning)
	if now := wantAddress(t, c.domain); now != address {
		t.Errorf("the guest was at %s, and is at %s after the checkpoint", address, now)
	}
	second := c.take("two.2")
	c.countFrom(second.far())
	listed, err := c.checkpointer().Checkpoints(t.Context())
	if err != nil {
		t.Fatalf("listing: %v", err)
	}
	var names []string
	for _, one := range listed {
		names = append(names, one.Name)
		if one.MemoryBytes == 0 || one.DiskBytes == 0 || one.Taken.IsZero() {
			t.Errorf("a checkpoint is listed as %+v", one)
		}
	}
	if diff := cmp.Diff([]string{"one", "two.2"}, names); diff != "" {
		t.Error(diff)
	}
	if err := c.domain.Undefine(t.Context()); err != nil {
		t.Fatalf("undefining: %v", err)
	}
	f.wantGone(t, c.spec)
	if exists(t, c.spec.Checkpoints) {
		t.Error("the checkpoints are left")
	}
}

func revertsToCheckpoint(f fixture) {
	c := f.counting()
	one := c.take("one")
	c.countFrom(one.far())
	c.revert("one", one)
	c.countFrom(one.far())
	c.revert("one", one)
}

func revertsInAnyOrder(f fixture) {
	c := f.counting()
	one := c.take("one")
	c.countFrom(one.far())
	two := c.take("two")
	c.countFrom(two.far())
	c.revert("one", one)
	c.revert("two", two)
	c.countFrom(two.far())
	c.revert("one", one)
	c.countFrom(one.far())
	three := c.take("three") // a branch beside two
	c.countFrom(three.far())
	c.revert("two", two)
	c.revert("three", three)
}

func revertsWhatIsOff(f fixture) {
	t, c := f.t, f.counting()
	one := c.take("one")
	c.countFrom(one.far())
	if err := c.domain.Destroy(t.Context()); err != nil {
		t.Fatalf("destroying: %v", err)
	}
	c.revert("one", one)
	c.Kill(t, c.driver, c.spec.Name)
	eventually(t, "the domain to be off", func(ctx context.Context) (bool, error) {
		state, err := c.domain.State(ctx)
		return state != hypervisor.StateRunning, err
	})
	c.revert("one", one)
	// A boot goes on from the disk as it is now.
	far := c.countFrom(one.far())
	if err := c.domain.Destroy(t.Context()); err != nil {
		t.Fatalf("destroying: %v", err)
	}
	if err := c.domain.Start(t.Context()); err != nil {
		t.Fatalf("starting: %v", err)
	}
	c.countFrom(far.Memory)
	c.revert("one", one)
}

func revertsThroughLookup(f fixture) {
	t, c := f.t, f.counting()
	one := c.take("one")
	c.countFrom(one.far())
	found, err := f.open(t).Lookup(t.Context(), c.spec.Name)
	if err != nil {
		t.Fatalf("looking up: %v", err)
	}
	c.domain = found
	c.revert("one", one)
}

func refusesCheckpoint(f fixture) {
	t, c := f.t, f.counting()
	one := c.take("one")
	at := c.countFrom(one.far())
	for what, name := range map[string]string{"that is taken": "one", "without letters": "", "of a path": "../one", "that is hidden": ".one"} {
		if err := c.checkpointer().Checkpoint(t.Context(), name); err == nil {
			t.Errorf("a checkpoint with a name %s succeeded", what)
		}
	}
	for _, name := range []string{"two", "", "..", "../" + filepath.Base(c.spec.Checkpoints) + "/one"} {
		if err := c.checkpointer().Revert(t.Context(), name); !errors.Is(err, hypervisor.ErrNoCheckpoint) {
			t.Errorf("reverting to %q gives %v", name, err)
		}
	}
	wantState(t, c.domain, hypervisor.StateRunning)
	c.countFrom(at.Memory + 1)
	if err := c.domain.Destroy(t.Context()); err != nil {
		t.Fatalf("destroying: %v", err)
	}
	if err := c.checkpointer().Checkpoint(t.Context(), "off"); err == nil {
		t.Error("a checkpoint of a domain that is off succeeded")
	}
	c.wantListed("one")

	placeless := f.spec()
	c.domain = f.start(t, placeless)
	if err := c.checkpointer().Checkpoint(t.Context(), "one"); !errors.Is(err, hypervisor.ErrCannotCheckpoint) {
		t.Errorf("a checkpoint of a domain without a place for it gives %v", err)
	}
	wantState(t, c.domain, hypervisor.StateRunning)
}

func (c counting) wantListed(names ...string) {
	c.t.Helper()
	listed, err := c.checkpointer().Checkpoints(c.t.Context())
	if err != nil {
		c.t.Fatalf("listing: %v", err)
	}
	var got []string
	for _, one := range listed {
		got = append(got, one.Name)
	}
	if diff := cmp.Diff(names, got); diff != "" {
		c.t.Error(diff)
	}
}

// cutShortCheckpoint ends the context at several moments: the guest goes on, and there is a whole checkpoint or none.
func cutShortCheckpoint(f fixture) {
	t, c := f.t, f.counting()
	one := c.take("one")
	for _, milliseconds := range []int{0, 10, 30, 60, 100, 150, 200, 300} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(milliseconds)*time.Millisecond)
		err := c.checkpointer().Checkpoint(ctx, "cut")
		cancel()
		wantState(t, c.domain, hypervisor.StateRunning)
		told := c.countFrom(0)
		c.countFrom(told.Memory + 1)
		if err == nil {
			c.wantListed("one", "cut")
			break
		}
		c.wantListed("one")
	}
	c.countFrom(one.far())
	c.revert("one", one)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.checkpointer().Revert(ended, "one"); !errors.Is(err, context.Canceled) {
		t.Errorf("reverting with an ended context gives %v", err)
	}
	wantState(t, c.domain, hypervisor.StateRunning)
}

func revertsVariables(f fixture) {
	t := f.t
	spec := f.spec()
	spec.Firmware = hypervisor.EFI
	spec.Variables = hypervisor.Variables{Path: filepath.Join(f.dir, spec.Name+".fd"), From: f.Variables}
	spec.Checkpoints = filepath.Join(f.dir, spec.Name+"-checkpoints")
	c := counting{f, spec, f.start(t, spec)}
	if err := c.checkpointer().Checkpoint(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if err := c.domain.Destroy(t.Context()); err != nil {
		t.Fatalf("destroying: %v", err)
	}
	mark := []byte("set since then")
	writeAtEnd(t, spec.Variables.Path, mark)
	if err := c.checkpointer().Revert(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	wantState(t, c.domain, hypervisor.StateRunning)
	if bytes.Contains(readFile(t, spec.Variables.Path), mark) {
		t.Error("the EFI variables are not those of the checkpoint")
	}
}

// writeAtEnd writes to the end of a file, where firmware has no variables.
func writeAtEnd(t *testing.T, path string, mark []byte) {
	t.Helper()
	content := readFile(t, path)
	content = append(content[:max(0, len(content)-len(mark))], mark...)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// cutsPowerAfterCheckpoint boots from the disk of now, not from that of a checkpoint, and can still be brought back.
func cutsPowerAfterCheckpoint(f fixture) {
	t := f.t
	c := f.counting()
	cutter, ok := c.domain.(hypervisor.PowerCutter)
	if !ok {
		return // an optional power
	}
	taken := c.take("first")
	for range 2 {
		if err := cutter.CutPower(t.Context()); err != nil {
			t.Fatalf("cutting the power: %v", err)
		}
		if err := c.domain.Start(t.Context()); err != nil {
			t.Fatalf("starting: %v", err)
		}
		c.countFrom(0)
	}
	c.revert("first", taken)
}
