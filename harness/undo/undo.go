// Package undo proves that on this host a revert undoes what came after its checkpoint.
//
// A driver that says so is not believed: a small guest counts in its memory and on its disk, and has to count on from the
// checkpoint afterwards, with both of one instant. Who relies on checkpoints asks here first.
package undo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/hostboot"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/counter"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/wait"
)

// Report is what was found.
type Report struct {
	Proven bool   `json:"proven"`
	Reason string `json:"reason"` // in a sentence: what was seen, or why there is no proof
	// Checkpoint and Revert are how long they took with the small guest.
	Checkpoint time.Duration `json:"checkpoint_ns,omitempty"`
	Revert     time.Duration `json:"revert_ns,omitempty"`
	Cached     bool          `json:"-"` // it was proven earlier in this boot of the host
}

// Options of a proof.
type Options struct {
	Driver      hypervisor.Driver
	Accelerator hypervisor.Accelerator
	// Where names the hypervisor among those of one version; empty is patchlab's own.
	Where string
	// Runs is where the guest's files are meanwhile.
	Runs     string
	CacheDir string // where a proof is kept for this boot of the host; empty keeps nothing
	Fresh    bool   // prove it even when it is proven
	Now      func() time.Time
	// Image makes the guest's disk, a qcow2 file of a raw one; default by qemu-img.
	Image func(ctx context.Context, raw, image string) error
}

// The guest counts four times a second once it is up, which takes a second or two; all bounds are for a host that does other
// things at the same time.
const (
	patience = 90 * time.Second // with one count
	interval = 50 * time.Millisecond
	further  = 4 // counts that are to be undone
	guestMiB = 32
)

// Prove makes a guest, brings it back to a checkpoint, and takes it away. What it finds out about this host is in the report; an
// error means that nothing was found out. Only a proof is kept: what failed may be mended at any time.
func Prove(ctx context.Context, opts Options) (Report, error) {
	kept, err := opts.answer(ctx)
	if err != nil {
		return Report{}, err
	}
	if !opts.Fresh {
		if report, found := kept.Read(); found {
			report.Cached = true
			return report, nil
		}
	}
	kept.Forget()
	report, err := opts.prove(ctx)
	if err != nil || !report.Proven {
		return report, err
	}
	return report, kept.Write(report)
}

// answer is where a proof is kept, with everything that it depends on.
func (o Options) answer(ctx context.Context) (hostboot.Answer[Report], error) {
	boot, err := hostboot.ID()
	if err != nil {
		return hostboot.Answer[Report]{}, err
	}
	version, err := o.Driver.Version(ctx)
	if err != nil {
		return hostboot.Answer[Report]{}, fmt.Errorf("asking for the hypervisor's version: %w", err)
	}
	key := fmt.Sprintf("%s %q %q %s %d", boot, version, o.Where, o.Accelerator, os.Geteuid())
	return hostboot.Answer[Report]{Dir: o.CacheDir, Name: "checkpoints", Key: key}, nil
}

func (o Options) prove(ctx context.Context) (report Report, err error) {
	dir, err := rundir.Create(o.Runs, o.Now())
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, dir.Close(), os.RemoveAll(dir.Path)) }()
	c, err := o.start(ctx, dir)
	if err != nil {
		return Report{}, fmt.Errorf("making the guest that proves checkpoints: %w", err)
	}
	defer func() {
		lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err = errors.Join(err, c.domain.Undefine(lasting))
	}()
	report, err = c.thereAndBack(ctx)
	if ctx.Err() != nil {
		return Report{}, fmt.Errorf("proving checkpoints: %w", context.Cause(ctx))
	}
	return report, err
}

// canary is the guest.
type canary struct {
	domain  hypervisor.Domain
	console string
	now     func() time.Time
}

func (o Options) start(ctx context.Context, dir *rundir.Dir) (*canary, error) {
	raw, image := dir.File("counter.raw"), dir.File("counter.qcow2")
	if err := os.WriteFile(raw, counter.Disk(), 0o644); err != nil {
		return nil, err
	}
	convert := o.Image
	if convert == nil {
		convert = convertDisk
	}
	if err := convert(ctx, raw, image); err != nil {
		return nil, err
	}
	c := &canary{console: dir.File(rundir.Console), now: o.Now}
	var err error
	c.domain, err = o.Driver.Define(ctx, hypervisor.DomainSpec{
		Name: "patchlab-" + dir.ID + "-undo", RunID: dir.ID, RunDir: dir.Path,
		Firmware: hypervisor.BIOS, Accelerator: o.Accelerator, MemoryMiB: guestMiB, VCPUs: 1,
		Disk:    hypervisor.Disk{Path: dir.File(rundir.Overlay), Backing: image},
		Console: c.console, Checkpoints: dir.File(rundir.Checkpoints), MAC: "52:54:00:12:34:57",
	})
	if err != nil {
		return nil, err
	}
	if err := c.domain.Start(ctx); err != nil {
		lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return nil, errors.Join(err, c.domain.Undefine(lasting))
	}
	return c, nil
}

func convertDisk(ctx context.Context, raw, image string) error {
	output, err := exec.CommandContext(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("converting %s: %w: %s", raw, err, strings.TrimSpace(string(output)))
	}
	return os.Chmod(image, 0o444)
}

// thereAndBack takes a checkpoint, lets the guest count on, and reverts.
func (c *canary) thereAndBack(ctx context.Context) (report Report, err error) {
	checkpointer, ok := c.domain.(hypervisor.Checkpointer)
	if !ok {
		return Report{Reason: "this hypervisor keeps no checkpoints"}, nil
	}
	if _, err := c.count(ctx, 0); err != nil {
		return Report{}, fmt.Errorf("the guest that proves checkpoints does not count: %w", err)
	}
	const name = "here"
	report.Checkpoint, err = c.timed(func() error { return checkpointer.Checkpoint(ctx, name) })
	if err != nil {
		return unproven("no checkpoint was taken", err), nil
	}
	at, err := c.count(ctx, 0)
	if err != nil {
		return unproven("the guest did not go on after the checkpoint", err), nil
	}
	later, err := c.count(ctx, at.Memory+further)
	if err != nil {
		return unproven("the guest did not go on after the checkpoint", err), nil
	}
	before, err := c.told()
	if err != nil {
		return Report{}, err
	}
	report.Revert, err = c.timed(func() error { return checkpointer.Revert(ctx, name) })
	if err != nil {
		return unproven("no revert came about", err), nil
	}
	if _, err := c.count(ctx, 0); err != nil {
		return unproven("the guest did not go on after the revert", err), nil
	}
	console, err := c.told()
	if err != nil {
		return Report{}, err
	}
	back := counter.Lowest(counter.ToldSince(console, len(before))) // whatever it told before is higher
	switch {
	case back.Memory >= later.Memory:
		report.Reason = fmt.Sprintf("its memory was not undone: the guest had counted to %s, and counts %s after the revert", later, back)
	case !back.Consistent():
		report.Reason = fmt.Sprintf("its disk was not undone: the guest had counted to %s, and counts %s after the revert", later, back)
	default:
		report.Proven = true
		report.Reason = fmt.Sprintf("a small guest that had counted to %s counted on from %s", later, back)
	}
	return report, nil
}

func unproven(what string, err error) Report { return Report{Reason: what + ": " + err.Error()} }

// timed is in hundredths, as nobody can measure better here.
func (c *canary) timed(do func() error) (time.Duration, error) {
	began := c.now()
	err := do()
	return c.now().Sub(began).Round(10 * time.Millisecond), err
}

func (c *canary) told() (string, error) {
	content, err := os.ReadFile(c.console)
	if err != nil {
		return "", fmt.Errorf("reading the guest's console: %w", err)
	}
	return string(content), nil
}

// count waits until the guest tells a count that it begins to tell after now, and that is at least as high.
func (c *canary) count(ctx context.Context, least uint16) (last counter.Count, err error) {
	begin, err := c.told()
	if err != nil {
		return counter.Count{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it told nothing new within %s", patience))
	defer cancel()
	err = wait.Until(ctx, "a count", interval, func(context.Context) (bool, error) {
		console, err := c.told()
		if err != nil {
			return false, err
		}
		told := counter.ToldSince(console, len(begin))
		if len(told) == 0 {
			return false, nil
		}
		last = told[len(told)-1]
		return last.Memory >= least, nil
	})
	return last, err
}
