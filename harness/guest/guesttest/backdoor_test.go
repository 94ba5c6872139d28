package guesttest_test

import (
	"errors"
	"testing"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
)

func TestTheBackdoorIsOpenWhileTheGuestIsDown(t *testing.T) {
	t.Parallel()
	s := guesttest.NewScript()
	s.On("hello", guesttest.Says("hello\n"))
	closed := false
	door := s.Backdoor()
	door.Closed = func() bool { return closed }
	conn, err := door.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Down()
	if result, err := conn.Run(t.Context(), guest.Command{Line: "hello"}); err != nil || string(result.Stdout) != "hello\n" {
		t.Errorf("while the guest is down: %q (%v)", result.Stdout, err)
	}
	s.Reboot()
	if _, err := conn.Run(t.Context(), guest.Command{Line: "hello"}); !errors.Is(err, guest.ErrLost) {
		t.Errorf("after a reboot: %v, want a lost connection", err)
	}
	closed = true
	if _, err := door.Dial(t.Context()); !errors.Is(err, guest.ErrLost) {
		t.Errorf("when it is closed: %v", err)
	}
}
