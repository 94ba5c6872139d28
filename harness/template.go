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
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/wait"
)

// templateSchema changes when a template would be made in another way.
const templateSchema = 1

// TemplateStore is where templates are kept below the cache directory.
func TemplateStore(cacheDir string) *image.Store {
	return &image.Store{Dir: filepath.Join(cacheDir, "templates")}
}

// How the clones of a run came to life, as the result has it.
const (
	warm = "warm" // they went on from a template
	cold = "cold" // they were booted
)

// warmUp finds the template of the run's image, or makes it: a guest that is booted, settled and saved, from which clones go on in
// seconds. Where that is not possible they are booted, and the result says why. release lets go of the template.
func (r *run) warmUp(ctx context.Context) (release func() error, err error) {
	nothing := func() error { return nil }
	if r.options.Cold {
		r.result.Clones.Start, r.result.Clones.Why, r.result.Clones.Asked = cold, "it was asked for", true
		return nothing, nil
	}
	template, err := r.findTemplate(ctx)
	if err == nil {
		release, err = TemplateStore(r.lab.CacheDir).Hold(template)
	}
	switch {
	case err == nil:
		r.template, r.result.Clones.Start = &template, warm
		return release, nil
	case ctx.Err() != nil:
		return nothing, err
	default:
		r.goCold(err)
		return nothing, nil
	}
}

// goCold lets the clones from now on boot.
func (r *run) goCold(why error) {
	r.template = nil
	r.result.Clones.Start, r.result.Clones.Why = cold, why.Error()
	r.emit(progress.Note, "template", "clones are booted, for none could go on from a template: "+why.Error(), 0)
}

func (r *run) findTemplate(ctx context.Context) (image.Image, error) {
	conditions, err := r.templateConditions(ctx)
	if err != nil {
		return image.Image{}, err
	}
	content, err := json.Marshal(conditions)
	if err != nil {
		return image.Image{}, fmt.Errorf("looking for a template: %w", err)
	}
	store := TemplateStore(r.lab.CacheDir)
	d := image.Derivation{
		Base: r.image, Content: string(content), Template: &image.Template{Made: conditions}, Now: r.lab.Now,
		Waiting: func() { r.emit(progress.Note, "template", "another run is making it", 0) },
	}
	d.Make = func(ctx context.Context, disk string) error { return r.makeTemplate(ctx, d.Template, disk) }
	template, found, err := store.Derived(ctx, d)
	if err != nil {
		return image.Image{}, err
	}
	if found {
		r.skip("template", "", "cached")
		return template, nil
	}
	if old, ok := store.Superseded(r.image, conditions); ok {
		r.emit(progress.Note, "template", "made anew: "+conditions.Differs(old.Template.Made), 0)
	}
	if template, err = store.Derive(ctx, d); err != nil {
		return image.Image{}, err
	}
	return template, store.RemoveSuperseded(r.image, conditions)
}

func (r *run) templateConditions(ctx context.Context) (image.Conditions, error) {
	version, err := r.host.Driver.Version(ctx)
	if err != nil {
		return image.Conditions{}, fmt.Errorf("asking for the hypervisor's version: %w", err)
	}
	return image.Conditions{
		Schema: templateSchema, Accelerator: string(r.host.Accelerator.Best), Hypervisor: version,
		MemoryMiB: r.image.MemoryMiB, VCPUs: r.image.VCPUs, Probe: probe.Digest(),
	}, nil
}

// makeTemplate boots a clone, waits until it has come to rest with nobody in it, and saves it.
func (r *run) makeTemplate(ctx context.Context, template *image.Template, disk string) error {
	return r.phase("template", "", func(p *phase) error {
		files := image.SavedBeside(disk)
		order := cloneOrder{
			purpose: "template", overlay: filepath.Join(filepath.Dir(disk), "overlay"+rundir.DiskExt),
			console: r.dir.File("template-" + rundir.Console), memory: files.Memory,
		}
		order.finish = func(ctx context.Context, c *clone) error {
			saver, ok := c.domain.(hypervisor.Saver)
			if !ok {
				return hypervisor.ErrCannotSave
			}
			_, err := p.step("save", func() error {
				ctx, cancel := context.WithTimeout(ctx, r.bounds.Driver)
				defer cancel()
				return saver.Save(ctx, files.State)
			})
			if err != nil {
				return err
			}
			template.AuthorizedKey = c.access.AuthorizedKey
			return r.keepTemplate(order, c, disk)
		}
		return r.withClone(ctx, order, func(ctx context.Context, c *clone) error {
			if err := r.firstBoot(ctx, c, p); err != nil {
				return r.unbootable(err, c)
			}
			_, err := p.step("leave", func() error { return r.leaveAlone(ctx, c) })
			return err
		})
	})
}

// keepTemplate puts the files of a saved clone where the store takes them from.
func (r *run) keepTemplate(order cloneOrder, c *clone, disk string) error {
	key := c.access.PrivateKey
	if r.image.Access.KeyFile != "" {
		key = nil // somebody's key is not for us to copy
	}
	err := errors.Join(os.WriteFile(image.SavedBeside(disk).Key, key, 0o600), os.Rename(order.overlay, disk))
	if r.image.Firmware == hypervisor.EFI {
		err = errors.Join(err, os.Rename(order.variables(), image.VariablesBeside(disk)))
	}
	if err != nil {
		return fmt.Errorf("keeping the template: %w", err)
	}
	return nil
}

// leaveAlone ends our login and waits, over the guest's agent, until nothing of it is left: the clones would find a session
// whose other end is not there.
func (r *run) leaveAlone(ctx context.Context, c *clone) error {
	if c.agent == nil {
		return errors.New("without a guest agent nobody can tell when our login has ended")
	}
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Settle)
	defer cancel()
	_ = c.conn.Close() // it is over
	c.conn = nil
	conn, err := c.agent.Dial(ctx)
	if err != nil {
		return fmt.Errorf("reaching the guest's agent: %w", err)
	}
	defer conn.Close() //nolint:errcheck // the guest goes on elsewhere
	command := guest.Command{Line: "loginctl list-sessions --no-legend"}
	err = wait.Until(ctx, "our login to end", 500*time.Millisecond, func(ctx context.Context) (bool, error) {
		result, err := conn.Run(ctx, command)
		if err == nil {
			err = result.Err(command)
		}
		return err == nil && strings.TrimSpace(string(result.Stdout)) == "", err
	})
	if err != nil {
		return err
	}
	settled, err := probe.Settle(ctx, conn, r.bounds.Settle)
	if err == nil && len(settled.Jobs) > 0 {
		err = fmt.Errorf("the guest does not settle: %s still has a %s job", settled.Jobs[0].Unit, settled.Jobs[0].Type)
	}
	return err
}

// machineID is the UUID that firmware tells every guest of an image: a clone is the machine that its image knows.
func machineID(i image.Image) string {
	sum := sha256.Sum256([]byte("machine " + i.Name + " " + i.MAC))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // RFC 9562, version 8
	h := hex.EncodeToString(sum[:16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// wake brings a guest that went on from a template to the present: its clock stood still, and the timers that it has missed run.
func (c *clone) wake(ctx context.Context, bound time.Duration, now func() time.Time) error {
	if err := c.connect(ctx, bound, ""); err != nil {
		return err
	}
	c.times.answer = c.times.since(now())
	if err := probe.SetClock(ctx, c.conn, now()); err != nil {
		return err
	}
	_, err := c.settle(ctx)
	c.times.settled = c.times.since(now())
	return err
}
