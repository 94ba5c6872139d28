package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/rundir"
)

// keep makes the run directory of a guest that was kept: an ssh server on this machine.
func (s *session) keep(t *testing.T, id string) *guesttest.Server {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	server := guesttest.NewServer(t, guesttest.ServerOptions{Authorized: signer.PublicKey()})
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := s.record(t, id, "baseline=active")
	kept, err := json.Marshal(rundir.KeptGuest{
		Address: server.Address, HostKey: string(ssh.MarshalAuthorizedKey(server.HostKey)), User: "root",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, filepath.Join(dir, rundir.Key), string(pem.EncodeToMemory(block)))
	s.put(t, filepath.Join(dir, rundir.Kept), string(kept))
	return server
}

func TestAShellPassesOutputAndExitCode(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.env.Stdin = strings.NewReader("typed")
	s.keep(t, "r1")
	if code := s.run("shell", "r1", "cat", "-; echo oops >&2; exit 42"); code != 42 {
		t.Errorf("exit code is %d", code)
	}
	if s.stdout.String() != "typed" || s.stderr.String() != "oops\n" {
		t.Errorf("it says %q and %q", s.stdout.String(), s.stderr.String())
	}
}

func TestAGuestThatWentAwayIsToldAndEndsLikeSSH(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.env.Stdin = strings.NewReader("")
	server := s.keep(t, "r1")
	s.env.Stdout = writer(func() { server.Cut() })
	if code := s.run("shell", "r1", "echo up; exec sleep 60"); code != exitUnreachable || !strings.Contains(s.stderr.String(), "lost") {
		t.Errorf("exit code is %d: %s", code, s.stderr.String())
	}
}

func TestAGuestThatIsGoneIsToldAtOnce(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	dir := s.record(t, "r1", "baseline=active")
	s.keep(t, "r1")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	content, err := os.ReadFile(filepath.Join(dir, rundir.Kept))
	if err != nil {
		t.Fatal(err)
	}
	var kept rundir.KeptGuest
	if err := json.Unmarshal(content, &kept); err != nil {
		t.Fatal(err)
	}
	s.put(t, filepath.Join(dir, rundir.Kept), strings.ReplaceAll(string(content), kept.Address, address))
	if code := s.run("shell", "r1"); code != exitUnreachable || !strings.Contains(s.stderr.String(), "patchlab gc --kept") {
		t.Errorf("exit code is %d: %s", code, s.stderr.String())
	}
}

// writer does something when it is written to.
type writer func()

func (w writer) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}
