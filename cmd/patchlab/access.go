package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/image"
)

// newAccess makes a key that one guest accepts and no other, or takes the one that is there; unless the image is one that a
// given key opens.
func newAccess(way image.Access, privateKey []byte) (harness.Access, error) {
	if way.KeyFile != "" {
		return givenAccess(way)
	}
	if privateKey != nil {
		signer, err := ssh.ParsePrivateKey(privateKey)
		if err != nil {
			return harness.Access{}, fmt.Errorf("reading the key of a template: %w", err)
		}
		return accessWith(way, signer, sshguest.AuthorizedKey(signer), privateKey), nil
	}
	signer, authorized, pem, err := sshguest.GenerateKey()
	if err != nil {
		return harness.Access{}, err
	}
	return accessWith(way, signer, authorized, pem), nil
}

func accessWith(way image.Access, signer ssh.Signer, authorized string, pem []byte) harness.Access {
	return harness.Access{AuthorizedKey: authorized, PrivateKey: pem, Dialer: dialer(way.Login(), signer)}
}

// givenAccess reads the key that an image was imported with.
func givenAccess(way image.Access) (harness.Access, error) {
	pem, err := os.ReadFile(way.KeyFile)
	if err != nil {
		return harness.Access{}, fmt.Errorf("reading the key that opens the image: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked {
		return harness.Access{}, fmt.Errorf("the key in %s has a passphrase, and patchlab asks nobody: make one without for the lab "+
			"(ssh-keygen -t ed25519 -N '' -f FILE) and let it in", way.KeyFile)
	}
	if err != nil {
		return harness.Access{}, fmt.Errorf("reading the key in %s: %w", way.KeyFile, err)
	}
	return harness.Access{
		AuthorizedKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), PrivateKey: pem,
		Dialer: dialer(way.Login(), signer),
	}, nil
}

func dialer(user string, signer ssh.Signer) func(address, hostKey string, log io.Writer) (guest.Dialer, error) {
	return func(address, hostKey string, log io.Writer) (guest.Dialer, error) {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
		if err != nil {
			return nil, fmt.Errorf("reading the guest's host key: %w", err)
		}
		return sshguest.New(sshguest.Config{
			Address: address, HostKey: key, Signer: signer, User: user, Sudo: user != "root", CommandLog: log,
		}), nil
	}
}
