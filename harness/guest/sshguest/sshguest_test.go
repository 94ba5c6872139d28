package sshguest_test

import (
	"os"
	"testing"

	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
)

func configFor(server *guesttest.Server) sshguest.Config {
	return sshguest.Config{Address: server.Address, HostKey: server.HostKey, Signer: server.Key}
}

func subject(t *testing.T, options guesttest.ServerOptions) guesttest.Subject {
	t.Helper()
	server := guesttest.NewServer(t, options)
	user := ""
	if os.Getuid() == 0 { // runuser is for root
		user = "nobody"
	}
	return guesttest.Subject{
		Dialer: sshguest.New(configFor(server)), Dir: t.TempDir(), User: user,
		Cut: func(*testing.T) { server.Cut() },
	}
}

func TestConnKeepsTheContract(t *testing.T) {
	t.Parallel()
	guesttest.RunConn(t, func(t *testing.T) guesttest.Subject {
		t.Helper()
		return subject(t, guesttest.ServerOptions{})
	})
}

func TestConnKeepsTheContractWithoutSFTP(t *testing.T) {
	t.Parallel()
	guesttest.RunConn(t, func(t *testing.T) guesttest.Subject {
		t.Helper()
		return subject(t, guesttest.ServerOptions{WithoutSFTP: true})
	})
}
