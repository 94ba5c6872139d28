package sshclient

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// ErrRefused means that the machine accepts none of the user's keys.
var ErrRefused = errors.New("it accepts none of the keys")

// HostKeyError is a host key that is not in known_hosts, or another one than there.
type HostKeyError struct {
	Host    string
	Shown   string   // type and fingerprint of the key that the host has shown
	Changed bool     // known_hosts has another one
	Where   []string // FILE:LINE of the other ones, or the files in which there is none
}

func (e *HostKeyError) Error() string {
	if e.Changed {
		return fmt.Sprintf("its host key is not the one that %s has for %s (it shows %s): either somebody sits in between, or the "+
			"machine was installed anew; if it was, remove the old key with `ssh-keygen -R %s`", strings.Join(e.Where, " and "), e.Host,
			e.Shown, e.Host)
	}
	return fmt.Sprintf("its host key is not known (it shows %s): compare it with the machine's and connect once with ssh, or add it to %s",
		e.Shown, first(e.Where...))
}

// login prepares a handshake. release gives the agent's connection back when it is over.
func (s Settings) login(ctx context.Context) (config *ssh.ClientConfig, release func(), err error) {
	check, algorithms, err := s.hostKeys()
	if err != nil {
		return nil, nil, err
	}
	keys, release, err := s.signers(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &ssh.ClientConfig{
		User: s.User, HostKeyCallback: check, HostKeyAlgorithms: algorithms,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(keys...)},
	}, release, nil
}

// hostKeys checks the host against known_hosts, and asks it for a key of a kind that stands there.
func (s Settings) hostKeys() (ssh.HostKeyCallback, []string, error) {
	present := slices.DeleteFunc(slices.Clone(s.KnownHosts), func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || info.IsDir()
	})
	known, err := knownhosts.New(present...)
	if err != nil {
		return nil, nil, fmt.Errorf("reading known_hosts: %w", err)
	}
	name := net.JoinHostPort(s.KnownAs, strconv.Itoa(s.Port))
	check := func(_ string, remote net.Addr, key ssh.PublicKey) error {
		err := known(name, withoutAddress{remote}, key)
		if wrong, ok := errors.AsType[*knownhosts.KeyError](err); ok {
			return s.hostKeyError(wrong, key)
		}
		return err
	}
	return check, algorithmsFor(known, name), nil
}

// withoutAddress keeps known_hosts from being asked by the address too, behind which another machine may be by now.
type withoutAddress struct{ net.Addr }

func (withoutAddress) String() string { return "0.0.0.0:0" }

func (s Settings) hostKeyError(wrong *knownhosts.KeyError, shown ssh.PublicKey) error {
	e := &HostKeyError{
		Host: s.KnownAs, Shown: shown.Type() + " " + ssh.FingerprintSHA256(shown), Changed: len(wrong.Want) > 0, Where: s.KnownHosts,
	}
	if s.Port != 22 {
		e.Host = fmt.Sprintf("[%s]:%d", s.KnownAs, s.Port)
	}
	if e.Changed {
		e.Where = nil
		for _, k := range wrong.Want {
			e.Where = append(e.Where, fmt.Sprintf("%s:%d", k.Filename, k.Line))
		}
	}
	return e
}

// algorithmsFor lists the kinds of keys that known_hosts has for a host: one that shows another kind would look changed. nil
// for a host that is not there.
func algorithmsFor(known ssh.HostKeyCallback, name string) []string {
	err := known(name, withoutAddress{&net.TCPAddr{}}, noKey{})
	wrong, ok := errors.AsType[*knownhosts.KeyError](err)
	if !ok {
		return nil
	}
	var algorithms []string
	for _, k := range wrong.Want {
		switch t := k.Key.Type(); t {
		case ssh.KeyAlgoRSA:
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			algorithms = append(algorithms, t)
		}
	}
	return slices.Compact(algorithms)
}

// noKey is like no key that there is.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// signers are the keys to offer, in ssh's order: those of the agent that the configuration names, the named files, the
// agent's others.
func (s Settings) signers(ctx context.Context) (offered []ssh.Signer, release func(), err error) {
	release = func() {}
	var held []ssh.Signer
	if s.AgentSocket != "" {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", s.AgentSocket)
		if err == nil { // an agent that is gone is as good as none
			release = func() { _ = conn.Close() }
			held, _ = agent.NewClient(conn).Signers()
		}
	}
	var named []ssh.Signer
	for _, path := range s.IdentityFiles {
		signer, err := readKey(path, held)
		if err != nil {
			release()
			return nil, nil, err
		}
		if signer != nil {
			named = append(named, signer)
		}
	}
	offered = named
	if !s.IdentitiesOnly {
		offered = append(slices.Clone(held), named...)
	}
	seen := map[string]bool{}
	offered = slices.DeleteFunc(offered, func(k ssh.Signer) bool {
		key := string(k.PublicKey().Marshal())
		defer func() { seen[key] = true }()
		return seen[key]
	})
	if len(offered) == 0 {
		release()
		return nil, nil, fmt.Errorf("no key to log in with: the agent has none, and there is none without a passphrase in %s",
			strings.Join(s.IdentityFiles, ", "))
	}
	return offered, release, nil
}

// readKey returns the key of a file: from the file, or from the agent where the file needs a passphrase. A file that is not
// there, or whose key nobody can use, gives none.
func readKey(path string, held []ssh.Signer) (ssh.Signer, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return heldKey(path, held), nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(content)
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked {
		return heldKey(path, held), nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key %s: %w", path, err)
	}
	return signer, nil
}

// heldKey finds the agent's key whose public half lies beside a file.
func heldKey(path string, held []ssh.Signer) ssh.Signer {
	content, err := os.ReadFile(path + ".pub")
	if err != nil {
		return nil
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(content)
	if err != nil {
		return nil
	}
	for _, k := range held {
		if slices.Equal(k.PublicKey().Marshal(), public.Marshal()) {
			return k
		}
	}
	return nil
}

// explain says what a failed handshake means. x/crypto/ssh has no type for a refused login.
func (s Settings) explain(err error) error {
	if strings.Contains(err.Error(), "unable to authenticate") {
		return fmt.Errorf("%w as %s: allow one of them in its authorized_keys, load the right one into your agent, or name it with "+
			"IdentityFile in ~/.ssh/config", ErrRefused, s.User)
	}
	if wrong, ok := errors.AsType[*HostKeyError](err); ok {
		return wrong
	}
	return err
}
