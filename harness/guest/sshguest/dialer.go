package sshguest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/commandlog"
)

// Errors of [Dialer.Dial] that another attempt does not mend, so that they do not wrap [guest.ErrLost].
var (
	// ErrRefused means that the guest's sshd does not accept the key.
	ErrRefused = errors.New("the guest refuses the key")
	// ErrHostKey means that whoever answers is not the guest, or that its host key was replaced.
	ErrHostKey = errors.New("the guest shows another host key than the pinned one")
	// ErrAlgorithms means that the two sides have no algorithm in common.
	ErrAlgorithms = errors.New("the guest's sshd has no algorithm in common with patchlab")
)

// Config says how to reach one guest.
type Config struct {
	Address string        // host:port
	HostKey ssh.PublicKey // the only one accepted
	Signer  ssh.Signer    // the key to log in with
	User    string        // default root
	// Sudo makes a user who is not root the administrator: everything goes through sudo, which must not ask for a password.
	Sudo bool
	// CommandLog, when set, receives one bounded and sanitised line for each command, put and get.
	CommandLog io.Writer

	// BannerWait bounds the wait for the first byte of an accepted connection; default 5 s. QEMU's user network accepts
	// connections long before the guest does, so that a short wait and another attempt are better than a long wait.
	BannerWait time.Duration
	// HandshakeWait bounds everything from the first byte to the accepted key; default 60 s, which is a hundred times
	// what an idle emulated guest needs.
	HandshakeWait time.Duration
	// KeepaliveInterval is how long a connection may be silent before the guest is asked for a sign of life; default 10 s.
	KeepaliveInterval time.Duration
	// KeepaliveBound is how long a connection may be silent before it counts as lost; default 90 s. A guest that boots
	// services under emulation, or that is being saved, says nothing for many seconds.
	KeepaliveBound time.Duration
}

// Dialer opens connections to one guest.
type Dialer struct {
	config Config
	log    *commandlog.Log
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

var _ guest.Dialer = (*Dialer)(nil)

// New returns a dialer. Nothing is contacted before [Dialer.Dial].
func New(config Config) *Dialer {
	setDefault(&config.User, "root")
	setDefault(&config.BannerWait, 5*time.Second)
	setDefault(&config.HandshakeWait, 60*time.Second)
	setDefault(&config.KeepaliveInterval, 10*time.Second)
	setDefault(&config.KeepaliveBound, 90*time.Second)
	return &Dialer{config: config, log: commandlog.New(config.CommandLog), dial: new(net.Dialer).DialContext}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Dial makes one attempt, which ends when ctx does or when one of the configured bounds is reached.
func (d *Dialer) Dial(ctx context.Context) (guest.Conn, error) {
	act := "connecting to the guest at " + d.config.Address
	if d.config.HostKey == nil || d.config.Signer == nil {
		return nil, fmt.Errorf("%s: no host key pinned or no key to log in with", act)
	}
	raw, err := d.dial(ctx, "tcp", d.config.Address)
	if err != nil {
		return nil, lost(act, withCause(ctx, err))
	}
	link := newLink(raw)
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	client, err := d.handshake(link)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		err = withCause(ctx, err)
		_ = raw.Close()
		if errors.Is(err, ErrHostKey) || errors.Is(err, ErrRefused) || errors.Is(err, ErrAlgorithms) {
			return nil, fmt.Errorf("%s: %w", act, err)
		}
		return nil, lost(act, err)
	}
	return newConn(d.config, d.log, link, client), nil
}

// withCause adds why a context ended to an error that only tells what its end broke.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

func (d *Dialer) handshake(link *link) (*ssh.Client, error) {
	if err := link.awaitFirstByte(d.config.BannerWait); err != nil {
		return nil, fmt.Errorf("waiting for its ssh banner: %w", err)
	}
	if err := link.SetDeadline(time.Now().Add(d.config.HandshakeWait)); err != nil {
		return nil, err
	}
	conn, channels, requests, err := ssh.NewClientConn(link, d.config.Address, d.clientConfig())
	if err != nil {
		return nil, handshakeError(err)
	}
	if err := link.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return ssh.NewClient(conn, channels, requests), nil
}

func (d *Dialer) clientConfig() *ssh.ClientConfig {
	safe := ssh.SupportedAlgorithms()
	return &ssh.ClientConfig{
		Config: ssh.Config{
			Ciphers:      prefer(safe.Ciphers, ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR),
			KeyExchanges: prefer(safe.KeyExchanges, ssh.KeyExchangeCurve25519),
		},
		User: d.config.User,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(d.config.Signer)},
		HostKeyCallback: func(_ string, _ net.Addr, shown ssh.PublicKey) error {
			if pinned := d.config.HostKey; !slices.Equal(shown.Marshal(), pinned.Marshal()) {
				return fmt.Errorf("%w: %s instead of %s", ErrHostKey, ssh.FingerprintSHA256(shown), ssh.FingerprintSHA256(pinned))
			}
			return nil
		},
		HostKeyAlgorithms: hostKeyAlgorithms(d.config.HostKey.Type()),
	}
}

// hostKeyAlgorithms makes the guest show the pinned key when it has keys of several kinds.
func hostKeyAlgorithms(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

func prefer(all []string, first ...string) []string {
	for _, name := range all {
		if !slices.Contains(first, name) {
			first = append(first, name)
		}
	}
	return first
}

// handshakeError tells apart what another attempt may mend from what it cannot. x/crypto/ssh has no type for a refused key.
func handshakeError(err error) error {
	if negotiation, ok := errors.AsType[*ssh.AlgorithmNegotiationError](err); ok {
		if negotiation.What == "host key" {
			return fmt.Errorf("%w: it has none of the pinned kind: %w", ErrHostKey, sanitised{err})
		}
		return fmt.Errorf("%w: %w", ErrAlgorithms, sanitised{err})
	}
	if strings.Contains(err.Error(), "unable to authenticate") {
		return fmt.Errorf("%w: %w", ErrRefused, sanitised{err})
	}
	return err
}
