// Package wait polls a condition until it holds or the context ends. It is the only place in patchlab that lets time pass.
package wait

import (
	"context"
	"fmt"
	"time"
)

// Until calls condition at once and then after each interval, until it returns true or an error, or ctx ends. The
// error of an ended context names what was waited for.
func Until(ctx context.Context, what string, interval time.Duration, condition func(context.Context) (bool, error)) error {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		done, err := condition(ctx)
		if done || err != nil {
			return err
		}
		timer.Reset(interval)
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-timer.C:
		}
	}
}
