package sshguest

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/commandlog"
)

func lost(act string, cause error) error {
	return fmt.Errorf("%s: %w: %w", act, guest.ErrLost, sanitised{cause})
}

// endsConnection reports whether an error can only come from a connection that is gone or useless. A command without an
// exit status belongs here: its sshd process died or was told to forget it, so that its answer will never come.
func endsConnection(err error) bool {
	for _, sign := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, sftp.ErrSSHFxConnectionLost} {
		if errors.Is(err, sign) {
			return true
		}
	}
	if _, ok := errors.AsType[*ssh.ExitMissingError](err); ok {
		return true
	}
	_, ok := errors.AsType[net.Error](err)
	return ok
}

// sanitised bounds and quotes what a hostile guest could put into an error's text.
type sanitised struct{ error }

// Error returns one printable line.
func (s sanitised) Error() string { return commandlog.Quote(s.error.Error(), 300) }

// Unwrap returns the error as it was.
func (s sanitised) Unwrap() error { return s.error }
