package wait_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchlab/patchlab/harness/wait"
)

func TestUntilAsksAgainUntilItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, asked := time.Now(), 0
		err := wait.Until(t.Context(), "the third time", time.Second, func(context.Context) (bool, error) {
			asked++
			return asked == 3, nil
		})
		if err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("error %v after %v and %d questions", err, time.Since(began), asked)
		}
	})
}

func TestUntilEndsWithTheContextAndNamesWhatItWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, cause)
		defer cancel()
		err := wait.Until(ctx, "godot", time.Second, func(context.Context) (bool, error) { return false, nil })
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "waiting for godot") {
			t.Errorf("error %v", err)
		}
	})
}

func TestUntilPassesOnWhatTheConditionSays(t *testing.T) {
	failure := errors.New("cannot tell")
	err := wait.Until(t.Context(), "anything", time.Hour, func(context.Context) (bool, error) { return false, failure })
	if !errors.Is(err, failure) {
		t.Errorf("error %v", err)
	}
}
