package sshclient_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/sshclient"
)

func TestTargetsAreReadAsSSHReadsThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]sshclient.Target{
		"web1":                      {Host: "web1"},
		"root@web1.example.org":     {User: "root", Host: "web1.example.org"},
		"root@web1.example.org:222": {User: "root", Host: "web1.example.org", Port: 222},
		"a@b@web1":                  {User: "a@b", Host: "web1"},
		"root@[2001:db8::1]:22":     {User: "root", Host: "2001:db8::1", Port: 22},
		"root@[2001:db8::1]":        {User: "root", Host: "2001:db8::1"},
	} {
		got, err := sshclient.ParseTarget(text)
		if err != nil || got != want {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "@web1", "root@", "root@web1:0", "root@web1:70000", "root@-oProxyCommand=x", "root@a b"} {
		if got, err := sshclient.ParseTarget(text); err == nil {
			t.Errorf("%q is %+v, want an error", text, got)
		}
	}
}

func TestSettingsComeFromTheConfiguration(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	file := filepath.Join(home, "config")
	write(t, file, `
Host web
  HostName %h1.example.org
  User admin
  Port 2222
  IdentityFile ~/.ssh/%h-key
  IdentitiesOnly yes
  ProxyJump jump@bastion:22
  HostKeyAlias web-alias
  UserKnownHostsFile ~/hosts
Host *
  User everybody
`)
	c := sshclient.Config{Home: home, User: "me", Files: []string{filepath.Join(home, "missing"), file}, AgentSocket: "/agent"}
	got, err := c.Resolve(sshclient.Target{Host: "web"})
	want := sshclient.Settings{
		Target: sshclient.Target{User: "admin", Host: "web1.example.org", Port: 2222}, Alias: "web", KnownAs: "web-alias",
		KnownHosts: []string{home + "/hosts"}, IdentityFiles: []string{home + "/.ssh/web1.example.org-key"}, IdentitiesOnly: true,
		AgentSocket: "/agent", Jumps: []string{"jump@bastion:22"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, settings (-want +got):\n%s", err, diff)
	}
	got, err = c.Resolve(sshclient.Target{User: "root", Host: "other", Port: 5})
	if err != nil || got.Target != (sshclient.Target{User: "root", Host: "other", Port: 5}) || len(got.IdentityFiles) != 3 {
		t.Errorf("what the person says goes first: %+v, %v", got, err)
	}
	write(t, file, "Host web\n  ProxyCommand nc %h %p\n")
	if _, err := c.Resolve(sshclient.Target{Host: "web"}); err == nil || !strings.Contains(err.Error(), "ProxyJump") {
		t.Errorf("a ProxyCommand gives %v", err)
	}
}

// lab is a machine that is reached with the key in home.
type lab struct {
	config sshclient.Config
	home   string
	key    ed25519.PrivateKey
	server *guesttest.Server
	target sshclient.Target
}

func newLab(t *testing.T) lab {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := lab{home: t.TempDir(), key: key}
	l.config = sshclient.Config{Home: l.home, User: "me"}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	l.server = guesttest.NewServer(t, guesttest.ServerOptions{Authorized: signer.PublicKey()})
	l.target = target(t, l.server)
	l.writeKey(t, "")
	l.know(t, l.server, l.server.HostKey)
	return l
}

func target(t *testing.T, server *guesttest.Server) sshclient.Target {
	t.Helper()
	host, port, err := net.SplitHostPort(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	return sshclient.Target{Host: host, Port: n}
}

func (l lab) writeKey(t *testing.T, passphrase string) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(l.key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(l.key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(l.home, ".ssh/id_ed25519"), string(pem.EncodeToMemory(block)))
	signer, _ := ssh.NewSignerFromSigner(l.key)
	write(t, filepath.Join(l.home, ".ssh/id_ed25519.pub"), string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// know writes known_hosts, with hashed names as Debian's ssh does.
func (l lab) know(t *testing.T, server *guesttest.Server, key ssh.PublicKey) {
	t.Helper()
	line := knownhosts.Line([]string{knownhosts.HashHostname(knownhosts.Normalize(server.Address))}, key)
	write(t, filepath.Join(l.home, ".ssh/known_hosts"), "# hosts\n"+line+"\n")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (l lab) mustRun(t *testing.T) {
	t.Helper()
	client, err := l.config.Dial(t.Context(), l.target)
	if err != nil {
		t.Fatal(err)
	}
	result, err := client.Run(t.Context(), guest.Command{Line: "cat; echo err >&2; exit 3", Stdin: strings.NewReader("in")})
	if err != nil || result.ExitCode != 3 || string(result.Stdout) != "in" || string(result.Stderr) != "err\n" {
		t.Errorf("the command ends with %+v, %v", result, err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheKeyInTheHomeDirectoryLogsIn(t *testing.T) {
	t.Parallel()
	newLab(t).mustRun(t)
}

func TestAnAgentUnlocksWhatAFileCannot(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.writeKey(t, "secret")
	if _, err := l.config.Dial(t.Context(), l.target); err == nil || !strings.Contains(err.Error(), "no key to log in with") {
		t.Fatalf("a key with a passphrase gives %v", err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: l.key}); err != nil {
		t.Fatal(err)
	}
	l.config.AgentSocket = filepath.Join(t.TempDir(), "agent")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", l.config.AgentSocket)
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
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	l.mustRun(t)
	l.config.Files = []string{filepath.Join(l.home, "config")}
	write(t, l.config.Files[0], "Host *\n  IdentitiesOnly yes\n")
	l.mustRun(t)
}

func TestHostsThatAreNotKnownAreRefusedWithTheRemedy(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	other := guesttest.NewServer(t, guesttest.ServerOptions{})
	for name, test := range map[string]struct {
		known   string
		changed bool
		want    string
	}{
		"unknown": {"", false, "connect once with ssh, or add it to " + l.home + "/.ssh/known_hosts"},
		"changed": {
			knownhosts.Line([]string{l.server.Address}, other.HostKey) + "\n", true,
			l.home + "/.ssh/known_hosts:1 has for [127.0.0.1]:",
		},
	} {
		write(t, filepath.Join(l.home, ".ssh/known_hosts"), test.known)
		_, err := l.config.Dial(t.Context(), l.target)
		wrong, ok := errors.AsType[*sshclient.HostKeyError](err)
		if !ok || wrong.Changed != test.changed || !strings.Contains(err.Error(), test.want) ||
			!strings.Contains(err.Error(), ssh.FingerprintSHA256(l.server.HostKey)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARefusedKeyIsToldAsSuch(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	_, l.key, _ = ed25519.GenerateKey(rand.Reader)
	l.writeKey(t, "")
	_, err := l.config.Dial(t.Context(), l.target)
	if !errors.Is(err, sshclient.ErrRefused) || !strings.Contains(err.Error(), "authorized_keys") {
		t.Errorf("a refused key gives %v", err)
	}
}

func TestAJumpGoesThroughAnotherMachine(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	signer, _ := ssh.NewSignerFromSigner(l.key)
	bastion := guesttest.NewServer(t, guesttest.ServerOptions{Authorized: signer.PublicKey()})
	write(t, filepath.Join(l.home, ".ssh/known_hosts"), knownhosts.Line([]string{l.server.Address}, l.server.HostKey)+"\n"+
		knownhosts.Line([]string{bastion.Address}, bastion.HostKey)+"\n")
	l.config.Files = []string{filepath.Join(l.home, "config")}
	write(t, l.config.Files[0], "Host web\n  HostName 127.0.0.1\n  Port "+strconv.Itoa(l.target.Port)+"\n  ProxyJump "+bastion.Address+"\n")
	l.target = sshclient.Target{Host: "web"}
	l.mustRun(t)
	bastion.Cut()
	write(t, l.config.Files[0], "Host web\n  ProxyJump web\n")
	if _, err := l.config.Dial(t.Context(), l.target); err == nil || !strings.Contains(err.Error(), "jump through") {
		t.Errorf("a machine that is its own jump host gives %v", err)
	}
}
