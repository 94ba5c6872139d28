package harness

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/harness/wait"
)

// What of a guest is not slower on a slow host: its own clock, and a person's patience.
const (
	// guestPatience is how long systemd lets a unit start unless that says something else (DefaultTimeoutStartSec).
	guestPatience = 90 * time.Second
	// tellWithin is when a telling line counts at the latest.
	tellWithin = 25 * time.Second
)

func bootPatienceOf(bounds timing.Timeouts) boot.Patience {
	return boot.Patience{
		Quiet: min(bounds.Quiet, tellWithin), Tell: tellWithin,
		Silence: bounds.Silence, Job: max(guestPatience, bounds.Silence),
	}
}

// bootOverError ends the waiting for a guest whose console shows that it does not come.
type bootOverError struct{ seen boot.Seen }

func (e *bootOverError) Error() string {
	if e.seen.Cause == "" {
		return fmt.Sprintf("the guest's boot is over in stage %s", e.seen.Stage)
	}
	return fmt.Sprintf("the guest's boot is over in stage %s: %s", e.seen.Stage, e.seen.Cause)
}

// whyOver puts what the console showed before the error that came of it.
func whyOver(followed context.Context, err error) error {
	over, ok := errors.AsType[*bootOverError](context.Cause(followed))
	if err == nil || !ok {
		return err
	}
	return fmt.Errorf("%w (%w)", over, err)
}

// follower looks at a console while others wait for the guest.
type follower struct {
	mu      sync.Mutex
	watcher *boot.Watcher
	share   func() float64
	looking sync.WaitGroup
	cancel  context.CancelCauseFunc
}

// follow ends the returned context with a [bootOverError] as soon as the console shows that the boot is over. stop must be called.
func (c *clone) follow(ctx context.Context, watch boot.Watch) (followed context.Context, f *follower) {
	watch.Console, watch.Mark, watch.Patience = c.console, c.mark, bootPatienceOf(c.bounds)
	f = &follower{watcher: boot.NewWatcher(watch), share: c.share}
	followed, f.cancel = context.WithCancelCause(ctx)
	f.looking.Go(func() {
		var over error
		err := wait.Until(followed, "the end of the boot", lookAtConsole, func(context.Context) (bool, error) {
			over = f.look()
			return over != nil, nil
		})
		if err == nil {
			f.cancel(over)
		}
	})
	return followed, f
}

// screen returns what reads the text on the guest's screen, or nil. Best effort: what cannot be read shows nothing.
func (c *clone) screen(ctx context.Context) func() []byte {
	reader, ok := c.domain.(hypervisor.ScreenReader)
	if !ok {
		return nil
	}
	return func() []byte {
		ctx, cancel := context.WithTimeout(ctx, c.bounds.Driver)
		defer cancel()
		text, err := reader.ScreenText(ctx)
		if err != nil {
			return nil
		}
		return text
	}
}

// lookAtConsole is how often a console is looked at. Most of the time it has not grown, which costs a call of the system.
const lookAtConsole = time.Second

// look returns a [bootOverError] if the boot is over.
func (f *follower) look() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen, over := f.watcher.Look(boot.Glance{Now: time.Now(), Interval: lookAtConsole, Share: f.share()})
	if !over {
		return nil
	}
	return &bootOverError{seen}
}

// answered tells that the guest lets us in.
func (f *follower) answered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watcher.Answered()
}

// stop ends the looking, and returns how long the boot spent in its stages.
func (f *follower) stop() boot.Times {
	f.cancel(context.Canceled)
	f.looking.Wait()
	_ = f.look() // for what it has said last
	return f.watcher.Times()
}
