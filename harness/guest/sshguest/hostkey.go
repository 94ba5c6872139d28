package sshguest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// HostKey asks whoever answers at an address for its host key, in the form of authorized_keys, without logging in. It is for a
// guest that is met for the first time; from then on the key is pinned. It makes one attempt; its error wraps
// [guest.ErrLost] while nobody answers.
func HostKey(ctx context.Context, address string) (string, error) {
	act := "asking for the host key of the guest at " + address
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", lost(act, withCause(ctx, err))
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	defer func() { _ = raw.Close() }()
	link := newLink(raw)
	config := New(Config{})
	if err := link.awaitFirstByte(config.config.BannerWait); err != nil {
		return "", lost(act, withCause(ctx, fmt.Errorf("waiting for its ssh banner: %w", err)))
	}
	if err := link.SetDeadline(time.Now().Add(config.config.HandshakeWait)); err != nil {
		return "", lost(act, withCause(ctx, err))
	}
	var shown ssh.PublicKey
	_, _, _, err = ssh.NewClientConn(link, address, &ssh.ClientConfig{
		User: "root",
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			shown = key
			return errSeen
		},
		// The kind that patchlab's own images are pinned by comes first.
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
	})
	if shown == nil {
		if _, ok := errors.AsType[*ssh.AlgorithmNegotiationError](err); ok {
			return "", fmt.Errorf("%s: %w: %w", act, ErrAlgorithms, sanitised{err})
		}
		return "", lost(act, withCause(ctx, err))
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(shown))), nil
}

// errSeen ends a handshake that has told what it was made for.
var errSeen = errors.New("the host key is known")
