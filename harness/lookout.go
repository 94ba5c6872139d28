package harness

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/wait"
)

// lookEvery is how often a guest that does not answer over ssh is looked at over its agent. As long as no agent runs that
// costs nothing; then each look costs an emulated guest some seconds beside its boot.
const lookEvery = 15 * time.Second

// lookOut ends the returned context when a guest that ssh does not reach has come to rest long ago, as it says over its agent:
// to wait on would be in vain. stop ends the looking, and must be called.
func (c *clone) lookOut(ctx context.Context, before string) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	if c.agent == nil {
		return watched, func() { cancel(context.Canceled) }
	}
	var looking sync.WaitGroup
	looking.Go(func() {
		first := true
		var rested time.Time
		err := wait.Until(watched, "the guest to rest", lookEvery, func(ctx context.Context) (bool, error) {
			switch {
			case first: // most connections come at once
				first = false
				return false, nil
			case !c.rests(ctx, before):
				rested = time.Time{}
				return false, nil
			case rested.IsZero():
				rested = time.Now()
			}
			return time.Since(rested) >= c.bounds.Answer, nil
		})
		if err == nil {
			cancel(&noAnswerError{bound: c.bounds.Answer, rested: true})
		}
	})
	return watched, func() {
		cancel(context.Canceled)
		looking.Wait()
	}
}

// rests asks over the agent whether the guest has come to rest, in another boot than the one before. What cannot be asked is no.
func (c *clone) rests(ctx context.Context, before string) bool {
	conn, err := c.agent.Dial(ctx)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }() // it holds nothing
	result, err := conn.Run(ctx, guest.Command{Line: "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running"})
	words := strings.Fields(string(result.Stdout))
	if err != nil || len(words) != 2 || words[0] == before {
		return false
	}
	return words[1] == "running" || words[1] == "degraded"
}
