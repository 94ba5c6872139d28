package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/wait"
)

// givenSchema changes when the same given state would be made in another way.
const givenSchema = 2

// leaveGiven is the last thing that runs in the guest before its disk becomes a derived image: the key of this one clone goes,
// for a file that is there would keep out the next clone's; and without stamps no timer believes that it missed a run.
const leaveGiven = `set -eu
keys=/root/.ssh/authorized_keys
if [ -e "$keys" ]; then
  grep -vxF -- "$PATCHLAB_KEY" "$keys" >"$keys.new" || true
  if [ -s "$keys.new" ]; then cat "$keys.new" >"$keys"; else rm -f "$keys"; fi
  rm -f "$keys.new"
  rmdir --ignore-fail-on-non-empty /root/.ssh
fi
rm -f /var/lib/systemd/timers/stamp-*
sync
`

// GivenStore is where derived images are kept below the cache directory.
func GivenStore(cacheDir string) *image.Store {
	return &image.Store{Dir: filepath.Join(cacheDir, "given")}
}

// given puts an image in the place of the scenario's in which the given state is there already. It is made once and kept: the
// baseline, the control and every run of the scenario start from it. release lets go of it.
func (r *run) given(ctx context.Context) (release func() error, err error) {
	if r.scenario.Given == nil {
		return func() error { return nil }, nil
	}
	given := *r.scenario.Given
	content, err := patch.Digest(r.scenario.Dir, given)
	if err != nil {
		return nil, err
	}
	store := GivenStore(r.lab.CacheDir)
	d := image.Derivation{
		Base: r.image, Content: fmt.Sprintf("%d %s %s", givenSchema, content, givenConffiles(r.scenario)), Now: r.lab.Now,
		Waiting: func() { r.emit(progress.Note, "prepare "+given.Name, "another run is making the same state", 0) },
		Make:    func(ctx context.Context, disk string) error { return r.makeGiven(ctx, given, disk) },
	}
	derived, found, err := store.Derived(ctx, d)
	r.ranGiven = filepath.Join(BaselineCache(r.lab.CacheDir), "given-"+digestOf([]byte(r.image.Digest+" "+r.image.Disk+" "+d.Content)))
	switch {
	case err != nil:
		return nil, err
	case found:
		r.skip("prepare", given.Name, "cached")
	default:
		if derived, err = store.Derive(ctx, d); err != nil {
			return nil, err
		}
	}
	if release, err = store.Hold(derived); err != nil {
		return nil, err
	}
	r.image, r.stands, r.result.Image.Given = derived, append(r.stands, derived), derived.Digest
	return release, nil
}

// givenConffiles is how the question about an edited configuration file is answered before the baseline: `ask` is about the
// candidate.
func givenConffiles(s scenario.Scenario) scenario.Conffiles {
	if s.Conffiles == scenario.ConffilesAsk {
		return scenario.ConffilesKeep
	}
	return s.Conffiles
}

// makeGiven makes the given state in a clone of its own and leaves the clone's disk at a path.
func (r *run) makeGiven(ctx context.Context, given scenario.Increment, disk string) error {
	return r.phase("prepare", given.Name, func(p *phase) error {
		order := cloneOrder{
			purpose: "given", overlay: filepath.Join(filepath.Dir(disk), "overlay"+rundir.DiskExt), console: r.dir.File("given-" + rundir.Console),
		}
		order.finish = func(ctx context.Context, c *clone) error {
			if _, err := p.step("shutdown", func() error { return r.powerOff(ctx, c) }); err != nil {
				return err
			}
			if err := os.Rename(order.overlay, disk); err != nil { // what is left there goes with the clone
				return fmt.Errorf("keeping the given state: %w", err)
			}
			if r.image.Firmware != hypervisor.EFI {
				return nil
			}
			if err := os.Rename(order.variables(), image.VariablesBeside(disk)); err != nil {
				return fmt.Errorf("keeping the given state: %w", err)
			}
			return nil
		}
		return r.withClone(ctx, order, func(ctx context.Context, c *clone) error {
			if err := r.firstBoot(ctx, c, p); err != nil {
				return r.unbootable(err, c)
			}
			return r.putGiven(ctx, c, p, given)
		})
	})
}

// putGiven brings the clone into the given state. That it cannot be reached is the scenario's fault: there is no candidate yet.
func (r *run) putGiven(ctx context.Context, c *clone, p *phase, given scenario.Increment) error {
	job, done, err := r.put(ctx, c, p, patch.Stager{Anew: true, Conffiles: givenConffiles(r.scenario)}, given)
	log := r.dir.File(rundir.Apply, given.Name+".log")
	if refused, ok := errors.AsType[*patch.RefusedError](err); ok {
		done.code, done.output, err = 100, []byte(refused.Output), r.dir.Write(filepath.Join(rundir.Apply, given.Name+".log"),
			[]byte(refused.Output))
	}
	if err != nil {
		return err
	}
	if done.code != 0 {
		return &patch.ScenarioError{Increment: given.Name, Reason: fmt.Sprintf(
			"the state wanted before the baseline cannot be made: exit code %d: %s; all of its output is in %s",
			done.code, strings.Join(tail(done.output, 3), " / "), log)}
	}
	p.note("%s is in place: %d files staged", given.Name, len(job.Staged))
	if _, err = p.step("settle", func() error {
		_, err := c.settle(ctx)
		return err
	}); err != nil {
		return err
	}
	return r.keepByHand(ctx, c, p)
}

// powerOff clears up in the guest, asks it to turn itself off and waits until it has, so that its disk is whole.
func (r *run) powerOff(ctx context.Context, c *clone) error {
	bounded, cancel := context.WithTimeout(ctx, r.bounds.Shutdown)
	defer cancel()
	command := guest.Command{
		Line:  "PATCHLAB_KEY='" + strings.TrimSpace(c.access.AuthorizedKey) + "' sh -s",
		Stdin: strings.NewReader(leaveGiven),
	}
	result, err := c.conn.Run(bounded, command)
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		return fmt.Errorf("clearing up in the guest: %w", err)
	}
	// The answer may be lost with the connection: what counts is that the domain is off.
	off := guest.Command{Line: "systemctl poweroff"}
	if result, err := c.conn.Run(bounded, off); err == nil && result.ExitCode != 0 {
		return fmt.Errorf("asking the guest to power off: %w", result.Err(off))
	}
	_ = c.conn.Close() // it dies with the guest
	c.conn = nil
	return wait.Until(bounded, "the guest to power off", 250*time.Millisecond, func(ctx context.Context) (bool, error) {
		state, err := c.domain.State(ctx)
		switch {
		case err != nil:
			return false, err
		case state == hypervisor.StateCrashed:
			return false, errDomainGone
		default:
			return state == hypervisor.StateOff, nil
		}
	})
}
