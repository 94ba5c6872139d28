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
)

// templateSchema changes when a template would be made in another way.
// 2: what is known of its files lies beside it, and the guest has their index.
const templateSchema = 2

// TemplateStore is where templates are kept below the cache directory.
func TemplateStore(cacheDir string) *image.Store {
	return &image.Store{Dir: filepath.Join(cacheDir, "templates")}
}

// errAsleep ends the waiting for a guest that should go on.
var errAsleep = errors.New("the guest does not go on from its template")

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
	var files *probe.Files
	if err == nil {
		if files, err = templateFiles(template); err != nil {
			err = errors.Join(err, release())
		}
	}
	switch {
	case err == nil:
		r.template, r.files, r.result.Clones.Start = &template, files, warm
		r.stands = append(r.stands, template)
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
	r.template, r.files = nil, r.imageFiles
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
			if err := r.learnFiles(ctx, c, p, files.Files); err != nil {
				return err
			}
			_, err := p.step("leave", func() error { return r.leaveAlone(ctx, c) })
			return err
		})
	})
}

// learnFiles reads the guest whole, and leaves in it the index of what is known of its files since. What changes until it is saved
// is told again.
func (r *run) learnFiles(ctx context.Context, c *clone, p *phase, keepAt string) error {
	if _, err := r.capture(ctx, c, p, "template"); err != nil {
		return err
	}
	_, err := p.step("leave", func() error {
		return errors.Join(probe.PutFiles(ctx, c.conn, c.files), keepFiles(keepAt, c.files))
	})
	return err
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

// leaveAlone leaves a probe waiting in the guest, ends our login and waits until nothing of it is left: the clones would find a
// session whose other end is not there.
func (r *run) leaveAlone(ctx context.Context, c *clone) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.bounds.Settle+r.bounds.Driver, errors.New("the guest was not left alone in time"))
	defer cancel()
	if err := probe.StartWaiting(ctx, c.conn); err != nil {
		return err
	}
	_ = c.conn.Close() // it is over
	c.conn = nil
	if err := c.awaken(ctx); err != nil {
		return err
	}
	defer c.rest()
	settled, err := probe.SettleAlone(ctx, c.waiting, r.bounds.Settle)
	switch {
	case err != nil:
		return err
	case len(settled.Jobs) > 0:
		return fmt.Errorf("the guest does not settle: %s still has a %s job", settled.Jobs[0].Unit, settled.Jobs[0].Type)
	case settled.Logins > 0:
		return fmt.Errorf("the guest is not left alone: it has %d sessions", settled.Logins)
	}
	return nil
}

// machineID is the UUID that firmware tells every guest of an image: a clone is the machine that its image knows.
func machineID(i image.Image) string {
	sum := sha256.Sum256([]byte("machine " + i.Name + " " + i.MAC))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // RFC 9562, version 8
	h := hex.EncodeToString(sum[:16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// wake makes a guest that went on from a template ready for use: awake, connected and settled.
func (r *run) wake(ctx context.Context, c *clone, order cloneOrder) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.bounds.Settle, errAsleep)
	defer cancel()
	if err := c.wake(ctx, r.lab.Now); err != nil {
		return err
	}
	if order.awake != nil {
		if err := order.awake(ctx, c); err != nil {
			return err
		}
	}
	if err := c.connect(ctx, r.bounds.Boot, ""); err != nil {
		return err
	}
	c.times.answer = c.times.since(r.lab.Now())
	_, err := c.settle(ctx)
	c.times.settled = c.times.since(r.lab.Now())
	return err
}

// wake brings a guest that went on from a template to the present, by the probe that waits in it: its clock stood still, and the
// timers that it has missed run.
func (c *clone) wake(ctx context.Context, now func() time.Time) error {
	if err := c.awaken(ctx); err != nil {
		return err
	}
	return probe.SetClock(ctx, c.waiting, now())
}

// awaken reaches the probe that waits in the guest.
func (c *clone) awaken(ctx context.Context) error {
	dialer, ok := c.domain.(hypervisor.ChannelDialer)
	if !ok {
		return hypervisor.ErrNoChannel
	}
	channel, err := dialer.DialChannel(ctx)
	if err != nil {
		return err
	}
	c.waiting = probe.NewWaiting(channel)
	return nil
}

// rest lets the probe wait for somebody else.
func (c *clone) rest() {
	if c.waiting != nil {
		_ = c.waiting.Close() // it was only asked
		c.waiting = nil
	}
}

// read lets a guest be read by the probe that waits in it, as long as it does, else by one that is started for it over ssh. That
// there is another way must not hide that ssh is gone: it is asked first.
func (c *clone) read(ctx context.Context, do func(probe.Runner) error) error {
	if c.waiting != nil {
		if _, err := probe.BootID(ctx, c.conn); err != nil {
			return err
		}
		if c.stillWaiting(ctx) {
			if err := do(c.waiting); !errors.Is(err, guest.ErrLost) {
				return err
			}
		}
		c.rest() // the patch may have ended it
	}
	return do(c.conn)
}

func (c *clone) stillWaiting(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.bounds.Answer)
	defer cancel()
	return c.waiting.Answers(ctx)
}
