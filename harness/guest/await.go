package guest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchlab/patchlab/harness/wait"
)

// attemptBound ends an attempt that hangs halfway, so that the next one meets the guest as it is by then. An emulated guest
// that is busy booting was seen to need 5 s for a login.
const attemptBound = 20 * time.Second

// Await dials at the given interval until the guest answers or ctx ends. It returns at once an error that does not wrap
// [ErrLost], which is one that another attempt does not mend. The error of an ended ctx tells of the last attempt, and
// wraps [ErrLost] as well.
func Await(ctx context.Context, dialer Dialer, interval time.Duration) (Conn, error) {
	var conn Conn
	var last error
	err := wait.Until(ctx, "the guest to answer", interval, func(ctx context.Context) (bool, error) {
		attempt, cancel := context.WithTimeout(ctx, attemptBound)
		defer cancel()
		answered, err := dialer.Dial(attempt)
		if err == nil {
			conn = answered
			return true, nil
		}
		if !errors.Is(err, ErrLost) {
			return false, err
		}
		last = err
		return false, nil
	})
	if err != nil && last != nil {
		return nil, fmt.Errorf("%w; the last attempt: %w", err, last)
	}
	return conn, err
}
