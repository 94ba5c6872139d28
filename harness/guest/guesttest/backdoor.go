package guesttest

import (
	"context"
	"errors"

	"github.com/patchlab/patchlab/harness/guest"
)

// Backdoor is another way into a [Script], as a guest's agent is: it is open also while the guest does not answer its usual way
// ([Script.Down], [Script.Cut]). Its connections end with a reboot, and nothing can be dialled or listened on through them.
type Backdoor struct {
	script *Script
	// Closed, when set, tells whether nobody answers. It is asked with each connection and each command.
	Closed func() bool
}

var _ guest.Dialer = (*Backdoor)(nil)

// Backdoor opens the other way.
func (s *Script) Backdoor() *Backdoor { return &Backdoor{script: s} }

// Dial makes a connection.
func (b *Backdoor) Dial(ctx context.Context) (guest.Conn, error) {
	if ctx.Err() != nil || b.Closed != nil && b.Closed() {
		return nil, lost("reaching the scripted guest's back door", errors.New("nobody answers"))
	}
	c := newScriptConn(b.script)
	b.script.mu.Lock()
	defer b.script.mu.Unlock()
	b.script.behind[c] = struct{}{}
	return plain{c}, nil
}

// plain hides that a connection can listen.
type plain struct{ guest.Conn }
