package sshguest_test

import (
	"os"
	"path/filepath"
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
	return subjectOf(t, server, configFor(server))
}

func subjectOf(t *testing.T, server *guesttest.Server, config sshguest.Config) guesttest.Subject {
	t.Helper()
	user := ""
	if os.Getuid() == 0 { // runuser is for root
		user = "nobody"
	}
	return guesttest.Subject{
		Dialer: sshguest.New(config), Dir: t.TempDir(), User: user,
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

func TestConnKeepsTheContractThroughSudo(t *testing.T) {
	// Stands for the real one, which need not be here: this machine's user plays the administrator already.
	tools := t.TempDir()
	script := "#!/bin/sh\n[ \"$1 $2\" = '-n --' ] || exit 1\nshift 2\necho used >>" + tools + "/log\nexec \"$@\"\n"
	if err := os.WriteFile(filepath.Join(tools, "sudo"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", tools+":"+os.Getenv("PATH"))
	guesttest.RunConn(t, func(t *testing.T) guesttest.Subject {
		t.Helper()
		server := guesttest.NewServer(t, guesttest.ServerOptions{})
		config := configFor(server)
		config.Sudo = true
		return subjectOf(t, server, config)
	})
	if used, err := os.ReadFile(filepath.Join(tools, "log")); err != nil || len(used) == 0 {
		t.Errorf("sudo was not used: %v", err)
	}
}
