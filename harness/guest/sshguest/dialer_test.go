package sshguest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
)

func generate(t *testing.T) (ssh.Signer, string, []byte) {
	t.Helper()
	signer, authorized, private, err := sshguest.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return signer, authorized, private
}

// occupy answers on a loopback port with what accept does to each connection.
func occupy(t *testing.T, accept func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			accept(conn)
		}
	}()
	return listener.Addr().String()
}

func TestDialTellsWhatAnotherAttemptMends(t *testing.T) {
	t.Parallel()
	server := guesttest.NewServer(t, guesttest.ServerOptions{})
	good := configFor(server)
	otherKey, _, _ := generate(t)
	rsaLike := foreignKey{good.HostKey}
	closed := occupy(t, func(conn net.Conn) { _ = conn.Close() })
	silent := occupy(t, func(net.Conn) {})
	stuck := occupy(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.2\r\n") })
	for name, test := range map[string]struct {
		change func(c *sshguest.Config)
		want   error
	}{
		"nothing listens":                    {func(c *sshguest.Config) { c.Address = "127.0.0.1:1" }, guest.ErrLost},
		"the connection is closed at once":   {func(c *sshguest.Config) { c.Address = closed }, guest.ErrLost},
		"the guest does not listen yet":      {func(c *sshguest.Config) { c.Address = silent }, guest.ErrLost},
		"the handshake gets stuck":           {func(c *sshguest.Config) { c.Address = stuck }, guest.ErrLost},
		"the key is not known":               {func(c *sshguest.Config) { c.Signer = otherKey }, sshguest.ErrRefused},
		"the host key is another one":        {func(c *sshguest.Config) { c.HostKey = otherKey.PublicKey() }, sshguest.ErrHostKey},
		"the host key is of no offered kind": {func(c *sshguest.Config) { c.HostKey = rsaLike }, sshguest.ErrHostKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := good
			config.BannerWait, config.HandshakeWait = 100*time.Millisecond, 300*time.Millisecond
			if test.want != guest.ErrLost { //nolint:errorlint // which of two sentinels this row is about
				config.HandshakeWait = time.Minute
			}
			test.change(&config)
			conn, err := sshguest.New(config).Dial(t.Context())
			if err == nil {
				_ = conn.Close()
			}
			if !errors.Is(err, test.want) || errors.Is(err, guest.ErrLost) != errors.Is(test.want, guest.ErrLost) {
				t.Errorf("Dial: %v, want %v", err, test.want)
			}
		})
	}
}

// foreignKey is a host key of a kind that the server has none of.
type foreignKey struct{ ssh.PublicKey }

func (foreignKey) Type() string { return ssh.KeyAlgoECDSA256 }

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	config := configFor(guesttest.NewServer(t, guesttest.ServerOptions{}))
	config.Address = occupy(t, func(net.Conn) {})
	why := errors.New("given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	config.BannerWait = time.Hour
	done := make(chan error, 1)
	go func() {
		_, err := sshguest.New(config).Dial(ctx)
		done <- err
	}()
	cancel(why)
	if err := <-done; !errors.Is(err, why) || !errors.Is(err, guest.ErrLost) {
		t.Errorf("Dial: %v, want the cause and guest.ErrLost", err)
	}
}

func TestDialPinsAHostKey(t *testing.T) {
	t.Parallel()
	config := configFor(guesttest.NewServer(t, guesttest.ServerOptions{}))
	config.HostKey = nil
	if _, err := sshguest.New(config).Dial(t.Context()); err == nil {
		t.Error("Dial trusts whoever answers")
	}
}

func TestAGeneratedKeyLogsIn(t *testing.T) {
	t.Parallel()
	signer, authorized, private := generate(t)
	line, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(authorized))
	if err != nil || comment != "patchlab" || string(line.Marshal()) != string(signer.PublicKey().Marshal()) || strings.Contains(authorized, "\n") {
		t.Errorf("authorized_keys line %q: %v", authorized, err)
	}
	parsed, err := ssh.ParsePrivateKey(private)
	if err != nil {
		t.Fatalf("private key: %v", err)
	}
	if ssh.FingerprintSHA256(parsed.PublicKey()) != ssh.FingerprintSHA256(signer.PublicKey()) {
		t.Error("the private key is of another pair")
	}
	other, _, _ := generate(t)
	if ssh.FingerprintSHA256(other.PublicKey()) == ssh.FingerprintSHA256(signer.PublicKey()) {
		t.Error("two clones got one key")
	}
}
