package harness

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
	"github.com/patchlab/patchlab/harness/wait"
)

// panicSetting is kernel.panic: for how many seconds the kernel stays in a panic before it resets the machine; 0 is for ever, and below
// that it does not wait.
const panicSetting = "/proc/sys/kernel/panic"

// panicNow asks the kernel to panic, once the answer to the request is on its way.
const panicNow = "(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &"

// crash has the guest's kernel panic and waits until the machine has reset itself. One that stays as it is gets what a person would
// give it in the end, its power cut; the finding is nil for one that did not need that.
func (r *run) crash(ctx context.Context, c *clone, p *phase) (*verdict.Finding, error) {
	setting, err := r.askPanic(ctx, c)
	if err != nil {
		return nil, err
	}
	c.mark = boot.Mark(c.console)
	if err := c.runs(ctx, guest.Command{Line: panicNow}); err != nil {
		return nil, fmt.Errorf("asking the guest's kernel to panic: %w", err)
	}
	fallen, err := r.awaitPanic(ctx, c)
	if err != nil {
		return nil, err
	}
	c.hangUp()
	c.mark = fallen
	if setting != 0 {
		patience := time.Duration(max(0, setting))*time.Second + r.bounds.Silence
		if err := r.awaitStart(ctx, c, patience); err == nil || ctx.Err() != nil {
			return nil, err
		}
	}
	p.note("the guest stays in its panic (kernel.panic is %d): somebody has to reset it", setting)
	f := staysDown(setting)
	c.screenshot(ctx, r.dir)
	return &f, c.cutPower(ctx)
}

func (r *run) askPanic(ctx context.Context, c *clone) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Command)
	defer cancel()
	command := guest.Command{Line: "cat " + panicSetting}
	result, err := c.conn.Run(ctx, command)
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		return 0, fmt.Errorf("asking what the kernel does after a panic: %w", err)
	}
	setting, err := strconv.Atoi(strings.TrimSpace(string(result.Stdout)))
	if err != nil {
		return 0, fmt.Errorf("asking what the kernel does after a panic: %w", err)
	}
	return setting, nil
}

// awaitPanic waits until the console shows the panic that was asked for, and returns where what comes after it begins.
func (r *run) awaitPanic(ctx context.Context, c *clone) (after int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.bounds.Command, errors.New("its console shows no panic"))
	defer cancel()
	err = wait.Until(ctx, "the guest's kernel to panic", lookAtConsole, func(context.Context) (fell bool, err error) {
		after, fell = boot.Fallen(c.console, c.mark)
		return fell, nil
	})
	return after, err
}

// awaitStart waits until the console shows that the machine has started anew.
func (r *run) awaitStart(ctx context.Context, c *clone, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return wait.Until(ctx, "the machine to reset itself", lookAtConsole, func(context.Context) (bool, error) {
		return boot.Begun(c.console, c.mark), nil
	})
}

// staysDown tells of a guest that a panic takes out of service until somebody comes.
func staysDown(setting int) verdict.Finding {
	f := withRemedy(verdict.Finding{
		ID: "PL714", Severity: verdict.Error, Phase: "reboot", Mode: "panic",
		Subject: fact.Key{Kind: "boot", Name: "panic"},
		Title:   "after a panic the machine stays down until somebody resets it",
		Cause:   "kernel.panic is 0, so that the kernel waits for ever",
	})
	if setting != 0 {
		f.Cause = fmt.Sprintf("kernel.panic is %d, but the machine did not start anew", setting)
	}
	f.Evidence = []verdict.Evidence{{File: rundir.Console}}
	return f
}
