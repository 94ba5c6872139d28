package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/wait"
)

const (
	// tryEvery is the default of [Hand.Every], and attemptBound ends an attempt that hangs: both as patchlab does.
	tryEvery     = 500 * time.Millisecond
	attemptBound = 20 * time.Second
)

var errAttempt = errors.New("the guest does not answer in time")

// ssh runs a line in the guest.
func (w *work) ssh(ctx context.Context, bound time.Duration, line string) error {
	_, err := w.ask(ctx, bound, line)
	return err
}

func (w *work) ask(ctx context.Context, bound time.Duration, line string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("no answer within %s", bound.Round(time.Second)))
	defer cancel()
	return w.shell.run(ctx, w.Programs.SSH, "-F", w.file(handConfig), "guest", line)
}

// await tries until the guest answers with another boot id than before.
func (w *work) await(ctx context.Context, bound time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("no answer within %s", bound.Round(time.Second)))
	defer cancel()
	var last error
	err := wait.Until(ctx, "the guest to answer", w.Every, func(ctx context.Context) (bool, error) {
		attempt, cancel := context.WithTimeoutCause(ctx, attemptBound, errAttempt)
		defer cancel()
		answer, err := w.ask(attempt, bound, "cat /proc/sys/kernel/random/boot_id")
		if err != nil {
			if last = err; isRefusal(err) {
				return false, err
			}
			return false, nil
		}
		answer = strings.TrimSpace(answer)
		if answer == "" || answer == w.bootID {
			return false, nil
		}
		w.bootID = answer
		return true, nil
	})
	if err != nil && last != nil && !errors.Is(err, last) {
		return fmt.Errorf("%w; the last attempt: %w", err, last)
	}
	return err
}

// isRefusal tells of an answer that another attempt does not mend.
func isRefusal(err error) bool {
	return strings.Contains(err.Error(), "Permission denied") || strings.Contains(err.Error(), "Host key verification failed")
}

// reboot asks for it and waits for another boot. The answer is lost with the connection, or says nothing.
func (w *work) reboot(ctx context.Context) error {
	if err := w.ssh(ctx, w.Bounds.Command, "systemctl reboot"); ctx.Err() != nil {
		return err
	}
	return w.await(ctx, w.Bounds.Shutdown+w.Bounds.Boot)
}
