package guest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
)

type answer struct{ guest.Conn }

type dialFunc func(ctx context.Context, attempt int) (guest.Conn, error)

type dialer struct {
	attempts int
	dial     dialFunc
}

func (d *dialer) Dial(ctx context.Context) (guest.Conn, error) {
	d.attempts++
	return d.dial(ctx, d.attempts)
}

func notYet() error { return fmt.Errorf("connecting: %w", guest.ErrLost) }

func TestAwaitDialsUntilTheGuestAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		want := answer{}
		d := &dialer{dial: func(_ context.Context, attempt int) (guest.Conn, error) {
			if attempt < 4 {
				return nil, notYet()
			}
			return want, nil
		}}
		start := time.Now()
		got, err := guest.Await(t.Context(), d, time.Second)
		if err != nil || got != want {
			t.Fatalf("Await = %v, %v", got, err)
		}
		if elapsed := time.Since(start); elapsed != 3*time.Second || d.attempts != 4 {
			t.Errorf("%d attempts in %v, want 4 in 3s", d.attempts, elapsed)
		}
	})
}

func TestAwaitGivesUpAtOnceOnAnErrorThatStays(t *testing.T) {
	t.Parallel()
	refused := errors.New("key refused")
	d := &dialer{dial: func(context.Context, int) (guest.Conn, error) { return nil, refused }}
	if _, err := guest.Await(t.Context(), d, time.Second); !errors.Is(err, refused) || d.attempts != 1 {
		t.Errorf("Await = %v after %d attempts, want the refusal after one", err, d.attempts)
	}
}

func TestAwaitTellsOfTheLastAttemptWhenTimeIsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		d := &dialer{dial: func(context.Context, int) (guest.Conn, error) { return nil, notYet() }}
		_, err := guest.Await(ctx, d, time.Second)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, guest.ErrLost) {
			t.Errorf("Await = %v, want the deadline and the last attempt", err)
		}
	})
}

func TestAwaitEndsAnAttemptThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{dial: func(ctx context.Context, attempt int) (guest.Conn, error) {
			if attempt == 1 {
				<-ctx.Done()
				return nil, notYet()
			}
			return answer{}, nil
		}}
		if _, err := guest.Await(t.Context(), d, time.Second); err != nil || d.attempts != 2 {
			t.Errorf("Await = %v after %d attempts, want success at the second", err, d.attempts)
		}
	})
}
