// Package helper opens the disk of a guest that is off, or that does not boot any more, in a small domain of its own: the image's
// kernel, with the probe as its first process. So the host's kernel mounts nothing that a broken guest has written, its journal of
// the file system is replayed as the next boot would, and its own tools can read and mend it.
package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/wait"
)

// ErrNoRoot means that no root file system could be mounted from the disk.
var ErrNoRoot = errors.New("the helper found no root file system on the disk")

// Opened is what became of the disk.
type Opened = protocol.Opened

// Helper is a domain in which a disk is open. What comes from it was written by the dead guest: it is bounded, and not to be trusted.
type Helper struct {
	// Opened is what became of the disk.
	Opened Opened

	domain  hypervisor.Domain
	waiting *probe.Waiting
}

// commandLine keeps the console for complaints. Nobody waits for a keyboard or for entropy, and nothing is hidden: no foreign
// program runs in there that was not asked for.
const commandLine = "console=ttyS0 quiet rdinit=/init mitigations=off random.trust_bootloader=on i8042.nokbd i8042.noaux -- init"

// Open defines and starts a domain of the spec, of which the kit is the kernel, and waits until the disk is open. The domain is
// removed again when it fails. It returns an error that wraps [ErrNoRoot] if the disk has no root that can be mounted.
func Open(ctx context.Context, driver hypervisor.Driver, spec hypervisor.DomainSpec, kit Kit) (_ *Helper, err error) {
	spec.Kernel, spec.Initrd, spec.CommandLine = kit.Kernel, kit.Initrd, commandLine
	domain, err := driver.Define(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("defining the helper: %w", err)
	}
	h := &Helper{domain: domain}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := domain.Start(ctx); err != nil {
		return nil, fmt.Errorf("starting the helper: %w", err)
	}
	dialer, ok := domain.(hypervisor.ChannelDialer)
	if !ok {
		return nil, fmt.Errorf("reaching the helper: %w", hypervisor.ErrNoChannel)
	}
	channel, err := dialer.DialChannel(ctx)
	if err != nil {
		return nil, fmt.Errorf("reaching the helper: %w", err)
	}
	h.waiting = probe.NewWaiting(channel)
	return h, h.learn(ctx)
}

// learn asks what became of the disk. The question waits in the channel while the helper boots.
func (h *Helper) learn(ctx context.Context) error {
	answer, err := h.waiting.Ask(ctx, protocol.AskOpened)
	if err != nil {
		return fmt.Errorf("waiting for the helper: %w", err)
	}
	if answer.ExitCode != 0 || json.Unmarshal(answer.Stdout, &h.Opened) != nil {
		return fmt.Errorf("asking the helper what it opened: %w", probe.ErrAnswer)
	}
	h.Opened.Root = protocol.Clean(h.Opened.Root)
	for _, list := range [][]string{h.Opened.Mounted, h.Opened.Problems} {
		for i, text := range list {
			list[i] = protocol.Clean(text)
		}
	}
	if h.Opened.Root == "" {
		return fmt.Errorf("%w: %s", ErrNoRoot, strings.Join(h.Opened.Problems, "; "))
	}
	return nil
}

// Facts reads what can be read of a system that does not run. known must be what [Pack] was given.
func (h *Helper) Facts(ctx context.Context, known *probe.Files) (probe.Reading, error) {
	return probe.FactsOff(ctx, h.waiting, known)
}

// Run runs a line of shell in the opened system, as root, for at most the bound. It has no network, and no service of it runs.
func (h *Helper) Run(ctx context.Context, line string, bound time.Duration) (guest.Result, error) {
	answer, err := h.waiting.Ask(ctx, protocol.AskRun, "--timeout", bound.String(), line)
	if err != nil {
		return guest.Result{}, err
	}
	complaints, cut := strings.CutSuffix(string(answer.Stderr), protocol.OutputCut+"\n")
	answer.Stderr, answer.Truncated = []byte(complaints), cut
	return answer, nil
}

// Off writes everything back, as an orderly shutdown does, and waits until the domain is off.
func (h *Helper) Off(ctx context.Context) error {
	answer, err := h.waiting.Ask(ctx, protocol.AskOff)
	if err != nil {
		return fmt.Errorf("turning the helper off: %w", err)
	}
	if answer.ExitCode != 0 {
		return fmt.Errorf("turning the helper off: %s", protocol.Clean(string(answer.Stderr)))
	}
	const interval = 200 * time.Millisecond
	return wait.Until(ctx, "the end of the helper", interval, func(ctx context.Context) (bool, error) {
		state, err := h.domain.State(ctx)
		return err == nil && state != hypervisor.StateRunning, err
	})
}

// Close removes the domain, also one that is on; its disk stays unless it has a backing image.
func (h *Helper) Close(ctx context.Context) error {
	if h.waiting != nil {
		_ = h.waiting.Close() // it is over
	}
	if err := h.domain.Undefine(ctx); err != nil {
		return fmt.Errorf("removing the helper (patchlab gc does it later): %w", err)
	}
	return nil
}
