package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/harness/wait"
)

// The causes with which everything that waits for a guest ends because of its domain. Both are the lab's.
var (
	errDomainGone = errors.New("the domain's QEMU ended, without being asked to by patchlab")
	// QEMU stops a guest whose write the host's disk cannot take; nobody else pauses one.
	errDomainPaused = errors.New("the domain was paused by its QEMU, as happens when the host's disk is full: make room and " +
		"run again")
)

// clone is a running copy of an image and the one connection to it.
type clone struct {
	domain  hypervisor.Domain
	dialer  guest.Dialer
	dial    func(address string) (guest.Dialer, error) // makes another one
	agent   guest.Dialer                               // over the guest agent; nil where the hypervisor or the lab has no such way
	conn    guest.Conn                                 // nil while the guest boots
	waiting *probe.Waiting                             // nil where none waits in the guest: it does from a template to the first reboot
	bounds  timing.Timeouts
	share   func() float64 // see [Lab.Share]
	console string         // file on the host
	mark    int64          // where the console's lines of the last reboot begin
	access  Access
	address string
	bootID  string
	warm    bool // it went on from a template, and is connected
	times   cloneTimes
	// files is what is known of its files; fresh, that this is what was known before it was read for the first time.
	files *probe.Files
	fresh bool
	// outOfBand says that conn leads over the guest agent, because ssh does not answer.
	outOfBand bool
	// isOff says that the domain was turned off, for another to open its disk; power is held for it.
	isOff bool
	// power is held by whoever makes the domain stand still or puts another QEMU in place of its own. Who watches looks away.
	power sync.Mutex
}

// cloneTimes are seconds since a clone was asked for, until ...
type cloneTimes struct {
	began   time.Time
	running float64 // its domain ran
	answer  float64 // it answered over ssh
	settled float64 // it had come to rest
}

// since returns the seconds until now.
func (t cloneTimes) since(now time.Time) float64 { return seconds(now.Sub(t.began)) }

// cloneOrder says what to clone and for what.
type cloneOrder struct {
	purpose string // [runPurpose] or "baseline": part of the domain's name
	overlay string // ends with [rundir.DiskExt]
	console string
	memory  string // file to keep the guest's RAM in, for one that is to be saved
	// checkpoints is the directory for states of the guest; empty for one that nobody brings back.
	checkpoints string
	// awake, if set, is called when the probe that waits in a guest that goes on has answered, before anybody has logged in.
	awake func(context.Context, *clone) error
	keep  func() bool // asked at the end: leave the guest running
	// finish, if set, is called when use has succeeded. It may turn the domain off.
	finish func(context.Context, *clone) error
}

// variables is where the clone of an EFI image has its own.
func (o cloneOrder) variables() string {
	return strings.TrimSuffix(o.overlay, rundir.DiskExt) + rundir.VariablesExt
}

// withClone makes a clone, hands it to use, and takes it away again whatever happens: after an error, after Ctrl-C (on
// a clock of its own). The context that use gets ends when the domain does. A clone that cannot go on from the run's template
// is booted instead.
func (r *run) withClone(ctx context.Context, order cloneOrder, use func(context.Context, *clone) error) error {
	release, err := r.reserveMemory(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if order.keep == nil || !order.keep() { // a guest that stays keeps its memory
			release()
		}
	}()
	c, err := r.makeClone(ctx, order)
	if err != nil && r.template != nil && ctx.Err() == nil {
		r.goCold(err)
		c, err = r.makeClone(ctx, order)
	}
	if err != nil {
		return err
	}
	return r.useClone(ctx, c, order, use)
}

// makeClone returns a clone whose domain runs. When it fails, it has taken everything back.
func (r *run) makeClone(ctx context.Context, order cloneOrder) (_ *clone, err error) {
	times := cloneTimes{began: r.lab.Now()}
	access, err := r.access()
	if err != nil {
		return nil, fmt.Errorf("making the clone's key: %w", err)
	}
	spec, err := r.spec(order, access)
	if err != nil {
		return nil, err
	}
	domain, err := r.host.Driver.Define(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("defining the clone: %w", err)
	}
	c := &clone{files: r.files, fresh: true, domain: domain, bounds: r.bounds, share: r.lab.share, console: order.console, access: access, warm: spec.Resume.State != "", times: times}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.discard(ctx, c))
		}
	}()
	if err := domain.Start(ctx); err != nil {
		return nil, fmt.Errorf("starting the clone: %w", err)
	}
	c.dial = func(address string) (guest.Dialer, error) { return access.Dialer(address, r.image.HostKey, r.commands) }
	if err := c.locate(ctx); err != nil {
		return nil, err
	}
	if caller, ok := domain.(hypervisor.AgentCaller); ok && r.lab.Agent != nil {
		c.agent = r.lab.Agent(caller, r.commands)
	}
	c.times.running = c.times.since(r.lab.Now())
	if !c.warm {
		return c, nil
	}
	watched, stop := c.watch(ctx)
	defer stop()
	return c, whyEnded(ctx, watched, r.wake(watched, c, order))
}

// locate finds out where the guest of a domain that has been started is reached.
func (c *clone) locate(ctx context.Context) (err error) {
	c.isOff = false
	if c.address, err = c.domain.Address(ctx); err != nil {
		return fmt.Errorf("asking for the clone's address: %w", err)
	}
	c.dialer, err = c.dial(c.address)
	return err
}

// discard takes a clone away on a clock of its own.
func (r *run) discard(ctx context.Context, c *clone) error {
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.bounds.Cleanup)
	defer cancel()
	return r.teardown(cleanup, c)
}

func (r *run) useClone(
	ctx context.Context, c *clone, order cloneOrder, use func(context.Context, *clone) error,
) (err error) {
	defer func() {
		if order.keep == nil || !order.keep() {
			err = errors.Join(err, r.discard(ctx, c))
		}
	}()
	watched, stop := c.watch(ctx)
	err = use(watched, c)
	if err == nil && order.finish != nil {
		stop()
		return order.finish(ctx, c)
	}
	defer stop()
	return whyEnded(ctx, watched, err)
}

// whyEnded puts the end of a watched domain before the error that came of it.
func whyEnded(ctx, watched context.Context, err error) error {
	if cause := context.Cause(watched); err != nil && watched.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

// access is the key of a clone: one of its own, or the one that the guest in the template knows.
func (r *run) access() (Access, error) {
	if r.template == nil {
		return r.lab.NewAccess(r.image.Access, nil)
	}
	key, err := r.template.PrivateKey()
	if err != nil {
		return Access{}, err
	}
	return r.lab.NewAccess(r.image.Access, key)
}

// runPurpose is that of the clone that is patched.
const runPurpose = "run"

func domainName(run, purpose string) string { return "patchlab-" + run + "-" + purpose }

func (r *run) spec(order cloneOrder, access Access) (hypervisor.DomainSpec, error) {
	source := r.image
	if r.template != nil {
		source = *r.template
	}
	spec := hypervisor.DomainSpec{
		Name:  domainName(r.dir.ID, order.purpose),
		RunID: r.dir.ID, RunDir: r.dir.Path,
		Firmware: r.image.Firmware, Accelerator: r.host.Accelerator.Best,
		MemoryMiB: r.image.MemoryMiB, VCPUs: r.image.VCPUs,
		Disk:    hypervisor.Disk{Path: order.overlay, Backing: source.Disk},
		Console: order.console, MAC: r.image.MAC, Machine: machineID(r.image),
		Memory: order.memory, Resume: source.Saved(), Checkpoints: order.checkpoints,
	}
	if r.image.Firmware == hypervisor.EFI {
		spec.Variables = hypervisor.Variables{Path: order.variables(), From: source.Variables}
	}
	err := r.image.Access.HandOver(access.AuthorizedKey, r.dir.File("seed-"+order.purpose+".iso"), &spec)
	return spec, err
}

// watch ends the returned context when the domain does not run any more: nobody waits for the dead.
func (c *clone) watch(ctx context.Context) (context.Context, context.CancelFunc) {
	const interval = 2 * time.Second // a query costs a millisecond
	watched, cancel := context.WithCancelCause(ctx)
	go func() {
		cause := errDomainGone
		stopped := wait.Until(watched, "the end of the domain", interval, func(ctx context.Context) (bool, error) {
			if !c.power.TryLock() {
				return false, nil // what it is now is meant to be
			}
			defer c.power.Unlock()
			if c.isOff {
				return false, nil // as above
			}
			state, err := c.domain.State(ctx)
			if err != nil {
				return errors.Is(err, hypervisor.ErrNotFound), nil // a hiccup is no proof: ask again
			}
			if state == hypervisor.StatePaused {
				cause = errDomainPaused
			}
			return state != hypervisor.StateRunning, nil
		})
		if stopped == nil {
			cancel(cause)
		}
	}()
	return watched, func() { cancel(context.Canceled) }
}

// teardown takes the clone away. It is told only when it fails, but its seconds are in the result.
func (r *run) teardown(ctx context.Context, c *clone) error {
	began := r.lab.Now()
	entry := report.Phase{Name: "teardown", Status: "done"}
	err := c.remove(ctx, r.dir)
	if err != nil {
		entry.Status = "failed"
	}
	entry.Seconds = seconds(r.lab.Now().Sub(began))
	r.result.Phases = append(r.result.Phases, entry)
	return err
}

// remove takes the clone away, after the evidence that only a live domain can give.
func (c *clone) remove(ctx context.Context, dir *rundir.Dir) error {
	c.rest()
	if c.conn != nil {
		_ = c.conn.Close() // the domain goes now anyway
	}
	c.screenshot(ctx, dir)
	if err := c.domain.Undefine(ctx); err != nil {
		return fmt.Errorf("removing the clone (patchlab gc does it later): %w", err)
	}
	return nil
}

// keep leaves the guest running, and in the run directory what is needed to reach it.
func (r *run) keep(c *clone) error {
	var err error
	if own := r.image.Access.KeyFile; own != "" {
		err = os.Symlink(own, r.dir.File(rundir.Key)) // somebody's key is not for us to copy
	} else {
		err = os.WriteFile(r.dir.File(rundir.Key), c.access.PrivateKey, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keeping the guest's key: %w", err)
	}
	if c.files.Len() > 0 {
		if err := keepFiles(r.dir.File(rundir.KnownFiles), c.files); err != nil {
			return err
		}
	}
	record := rundir.KeptGuest{
		Address: c.address, HostKey: r.image.HostKey, User: r.image.Access.Login(), AuthorizedKey: c.access.AuthorizedKey,
	}
	if err := r.dir.WriteKept(record); err != nil {
		return err
	}
	for _, below := range r.stands {
		if err := below.HoldWhile(r.dir.File(rundir.Kept)); err != nil {
			// A store that we may not write to is somebody's who looks after it.
			r.emit(progress.Note, "keep", "nothing keeps the image below the guest from being removed: "+err.Error(), 0)
		}
	}
	return nil
}

// screenshot is best effort: a guest without a screen is no fault.
func (c *clone) screenshot(ctx context.Context, dir *rundir.Dir) {
	if shooter, ok := c.domain.(hypervisor.Screenshotter); ok {
		if picture, err := shooter.Screenshot(ctx); err == nil {
			_ = dir.Write(rundir.Screenshot, picture) // best effort, as said
		}
	}
}

// connect waits for the guest to answer over ssh, for at most the bound, and readies the probe. The boot named before is
// being left: that it still answers over the agent says nothing.
func (c *clone) connect(ctx context.Context, bound time.Duration, before string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bound, &noAnswerError{bound: bound})
	defer cancel()
	const interval = 500 * time.Millisecond // between attempts; each costs the booting guest a little
	awaiting, stop := c.lookOut(ctx, before)
	conn, err := guest.Await(awaiting, c.dialer, interval)
	stop()
	if err != nil && ctx.Err() == nil && !errors.Is(err, guest.ErrLost) {
		return &refusedError{err}
	}
	if err != nil {
		return err
	}
	c.conn, c.outOfBand = conn, false
	return probe.Install(ctx, conn)
}

// noAnswerError is the end of the patience with a guest that does not answer.
type noAnswerError struct {
	bound  time.Duration
	rested bool // the guest itself says that it has come to rest
}

func (e *noAnswerError) Error() string {
	since := ""
	if e.rested {
		since = " after it had come to rest"
	}
	return fmt.Sprintf("the guest did not answer over ssh within %s%s", e.bound.Round(time.Second), since)
}

// refusedError is an answer over ssh that another attempt does not mend: the key is refused, the host key is another one.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// settle waits until the init system has nothing queued, and notes which boot this is.
func (c *clone) settle(ctx context.Context) (probe.Settled, error) {
	var settled probe.Settled
	err := c.read(ctx, func(by probe.Runner) (err error) {
		settled, err = probe.Settle(ctx, by, c.bounds.Settle)
		return err
	})
	if err != nil {
		return settled, err
	}
	c.bootID = settled.BootID
	return settled, nil
}

// restart asks the guest to reboot and waits until another boot of it answers. The proof is the boot id.
func (c *clone) restart(ctx context.Context, bound time.Duration) error {
	before := c.bootID
	// The answer may be lost with the connection, or the request: what counts is the boot id.
	command := guest.Command{Line: "systemctl reboot"}
	result, err := c.conn.Run(ctx, command)
	if err == nil && result.ExitCode != 0 {
		return fmt.Errorf("asking the guest to reboot: %w", result.Err(command))
	}
	asked := err == nil
	c.hangUp() // the connection dies with the boot
	return c.awaitBoot(ctx, bound, before, func(ctx context.Context) error {
		if asked {
			return nil
		}
		_, err := c.conn.Run(ctx, command) // one that is on its way down already may refuse
		asked = err == nil
		return err
	})
}

// awaitBoot waits until another boot answers than the one before. As long as that still does, again, if set, is called.
func (c *clone) awaitBoot(ctx context.Context, bound time.Duration, before string, again func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bound, &noAnswerError{bound: bound})
	defer cancel()
	return wait.Until(ctx, "the next boot", time.Second, func(ctx context.Context) (bool, error) {
		if err := c.connect(ctx, bound, before); err != nil {
			return false, err
		}
		id, err := probe.BootID(ctx, c.conn)
		if err == nil && id != before {
			return true, nil
		}
		if err == nil && again != nil {
			err = again(ctx)
		}
		_ = c.conn.Close() // the old boot still answers
		c.conn = nil
		if err != nil && !errors.Is(err, guest.ErrLost) {
			return false, err
		}
		return false, nil
	})
}
