package guesttest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// NewServerWithHome starts a server, and makes a home directory whose .ssh leads there: with a key that may log in, and the
// server among the known hosts.
func NewServerWithHome(tb testing.TB) (server *Server, home string) {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		tb.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		tb.Fatal(err)
	}
	server = NewServer(tb, ServerOptions{Authorized: signer.PublicKey()})
	home = tb.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		tb.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"id_ed25519":  pem.EncodeToMemory(block),
		"known_hosts": []byte(knownhosts.Line([]string{server.Address}, server.HostKey) + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(home, ".ssh", name), content, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return server, home
}
