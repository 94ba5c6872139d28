package sshguest_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
)

func TestTheHostKeyOfAStrangerIsLearned(t *testing.T) {
	t.Parallel()
	server := guesttest.NewServer(t, guesttest.ServerOptions{})
	got, err := sshguest.HostKey(t.Context(), server.Address)
	if want := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(server.HostKey))); err != nil || got != want {
		t.Errorf("host key %q, error %v, want %q", got, err, want)
	}
}

func TestWhereNobodyAnswersThereIsNoHostKeyYet(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sshguest.HostKey(t.Context(), address); !errors.Is(err, guest.ErrLost) {
		t.Errorf("error %v, want one that another attempt may mend", err)
	}
}
