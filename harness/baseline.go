package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
)

// baselineKey covers all that goes into a guest's behaviour, and into how it is read.
func (r *run) baselineKey(ctx context.Context) (string, error) {
	version, err := r.host.Driver.Version(ctx)
	if err != nil {
		return "", fmt.Errorf("asking for the hypervisor's version: %w", err)
	}
	r.result.Host.Hypervisor = version
	content, err := json.Marshal([]any{
		baselineSchema, r.image.Digest, r.image.MemoryMiB, r.image.VCPUs, r.image.Firmware, r.host.Accelerator.Best,
		version, probe.Digest(),
	})
	if err != nil {
		return "", fmt.Errorf("making the baseline's key: %w", err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}

// baseline returns what is known of the unpatched guest, from the cache or from a clone of its own.
func (r *run) baseline(ctx context.Context) error {
	key, err := r.baselineKey(ctx)
	if err != nil {
		return err
	}
	file := filepath.Join(BaselineCache(r.lab.CacheDir), key)
	if err := r.know(ctx, file); err != nil {
		return err
	}
	if err := errors.Join(r.writeFacts(factsFile("baseline"), r.known.Baseline), r.writeFacts(factsFile("control"), r.known.Control)); err != nil {
		return err
	}
	if r.vacation {
		return nil // it reboots without a patch itself
	}
	return r.knowControls(ctx, file)
}

// know reads the file, or learns what it is to hold. Of several runs that need the same, one learns and the others wait.
func (r *run) know(ctx context.Context, file string) (err error) {
	if r.recall(file) {
		return nil
	}
	unlock, err := lockKnown(ctx, file, func() {
		r.emit(progress.Note, "baseline", "another run is learning it", 0)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if r.recall(file) {
		return nil
	}
	return r.learn(ctx, file)
}

func (r *run) recall(file string) bool {
	k, ok := readKnown(file)
	if ok {
		used(file, r.lab.Now())
		r.known = k
		r.skip("baseline", "", "cached")
		r.skip("control", "", "cached")
	}
	return ok
}

func (r *run) learn(ctx context.Context, file string) error {
	err := r.withClone(ctx, cloneOrder{
		purpose: "baseline",
		overlay: r.dir.File("baseline.qcow2"), console: r.dir.File("baseline-" + rundir.Console),
	}, func(ctx context.Context, c *clone) error {
		if err := r.phase("baseline", "", func(p *phase) error { return r.learnBaseline(ctx, c, p) }); err != nil {
			return r.unbootable(err, c)
		}
		return r.bootPhase("control", scenario.RebootClean, func(p *phase) error { return r.learnControl(ctx, c, p) })
	})
	if err != nil {
		return err
	}
	return writeKnown(file, r.known)
}

func (r *run) learnBaseline(ctx context.Context, c *clone, p *phase) (err error) {
	if err := r.firstBoot(ctx, c, p); err != nil {
		return err
	}
	if r.known.Baseline, err = r.capture(ctx, c, p, "baseline"); err != nil {
		return err
	}
	if r.known.Second, err = r.capture(ctx, c, p, "baseline-second"); err != nil {
		return err
	}
	if r.known.Boot, err = r.readBoot(ctx, c, p, "baseline-boot"); err != nil {
		return err
	}
	r.known.Reach, err = r.askReach(ctx, c.conn)
	return err
}

func (r *run) learnControl(ctx context.Context, c *clone, p *phase) error {
	learned, err := r.rebootUnpatched(ctx, c, p, scenario.RebootClean)
	if err != nil {
		return err
	}
	r.known.Schema, r.known.BootSeconds, r.known.Stages = baselineSchema, learned.BootSeconds, learned.Stages
	r.known.Control, err = r.capture(ctx, c, p, "control")
	return err
}

// firstBoot waits for the guest's first boot. A job that hangs in the unpatched guest makes the image unusable as a
// yardstick.
func (r *run) firstBoot(ctx context.Context, c *clone, p *phase) error {
	if c.warm {
		p.steps["clone"] = c.times.settled
		return nil
	}
	p.steps["clone"] = c.times.running
	_, err := p.step("boot", func() error {
		if err := c.connect(ctx, r.bounds.Boot, ""); err != nil {
			return err
		}
		c.times.answer = c.times.since(r.lab.Now())
		settled, err := c.settle(ctx)
		c.times.settled = c.times.since(r.lab.Now())
		if err == nil && len(settled.Jobs) > 0 {
			return fmt.Errorf("the unpatched guest does not settle: %s still has a %s job", settled.Jobs[0].Unit,
				settled.Jobs[0].Type)
		}
		return err
	})
	return err
}
