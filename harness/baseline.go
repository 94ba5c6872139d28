package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/rundir"
)

// baselineSchema changes when what is cached changes its meaning.
const baselineSchema = 2

// known is what is known of an image without any patch: paid once per image and kept.
type known struct {
	Schema   int      `json:"schema"`
	Baseline fact.Set `json:"baseline"`
	Second   fact.Set `json:"second"`  // the same guest, read again a little later
	Control  fact.Set `json:"control"` // after an unpatched reboot
	// BootSeconds is how long the control reboot took, from the request until it settled.
	BootSeconds float64 `json:"boot_seconds"`
	// Reach is how the guest was to be reached, as it says itself.
	Reach reach `json:"reach"`
}

// bootPatience is how many times longer than the control boot a boot may take before it counts as hung, and
// leastBootPatience the least that is granted, for a busy host.
const (
	bootPatience      = 4
	leastBootPatience = 2 * time.Minute
)

// bootBound is the patience with a boot of the patched guest.
func (k known) bootBound() time.Duration {
	return max(leastBootPatience, time.Duration(bootPatience*k.BootSeconds*float64(time.Second)))
}

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
	file := filepath.Join(r.lab.CacheDir, "baselines", key+".json")
	if k, ok := readKnown(file); ok {
		r.known = k
		r.skip("baseline", "", "cached")
		r.skip("control", "", "cached")
	} else if err := r.learn(ctx, file); err != nil {
		return err
	}
	return errors.Join(r.writeFacts("baseline", r.known.Baseline), r.writeFacts("control", r.known.Control))
}

func (r *run) learn(ctx context.Context, file string) error {
	err := r.withClone(ctx, cloneOrder{
		purpose: "baseline",
		overlay: r.dir.File("baseline.qcow2"), console: r.dir.File("baseline-" + rundir.Console),
	}, func(ctx context.Context, c *clone) error {
		if err := r.phase("baseline", "", func(p *phase) error { return r.learnBaseline(ctx, c, p) }); err != nil {
			return r.unbootable(err, c)
		}
		return r.phase("control", "", func(p *phase) error { return r.learnControl(ctx, c, p) })
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
	r.known.Reach, err = r.askReach(ctx, c.conn)
	return err
}

func (r *run) learnControl(ctx context.Context, c *clone, p *phase) (err error) {
	r.known.BootSeconds, err = p.step("boot", func() error {
		if err := c.restart(ctx, r.bounds.Shutdown+r.bounds.Boot); err != nil {
			return r.unbootable(err, c)
		}
		_, err := c.settle(ctx)
		return err
	})
	if err != nil {
		return err
	}
	r.known.Schema = baselineSchema
	r.known.Control, err = r.capture(ctx, c, p, "control")
	return err
}

// firstBoot waits for the guest's first boot. A job that hangs in the unpatched guest makes the image unusable as a
// yardstick.
func (r *run) firstBoot(ctx context.Context, c *clone, p *phase) error {
	p.steps["clone"] = c.made
	_, err := p.step("boot", func() error {
		if err := c.connect(ctx, r.bounds.Boot, ""); err != nil {
			return err
		}
		settled, err := c.settle(ctx)
		if err == nil && len(settled.Jobs) > 0 {
			return fmt.Errorf("the unpatched guest does not settle: %s still has a %s job", settled.Jobs[0].Unit,
				settled.Jobs[0].Type)
		}
		return err
	})
	return err
}

func readKnown(file string) (known, bool) {
	content, err := os.ReadFile(file)
	if err != nil {
		return known{}, false
	}
	var k known
	// A damaged cache is no fault: what it held is learned again.
	if json.Unmarshal(content, &k) != nil || k.Schema != baselineSchema || k.Baseline.Len() == 0 || k.Control.Len() == 0 {
		return known{}, false
	}
	return k, true
}

func writeKnown(file string, k known) error {
	content, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("keeping the baseline: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("keeping the baseline: %w", err)
	}
	return writeWhole(file, content)
}
