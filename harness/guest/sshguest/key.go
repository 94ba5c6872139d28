package sshguest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// GenerateKey makes a key pair for one clone: the signer to log in with, its line for authorized_keys (without a newline),
// and the private key as ssh and sftp read it from a file. The same serves as a host key that is handed to a guest.
func GenerateKey() (signer ssh.Signer, authorizedKey string, privatePEM []byte, err error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", nil, fmt.Errorf("generating an ssh key: %w", err)
	}
	signer, err = ssh.NewSignerFromSigner(private)
	if err != nil {
		return nil, "", nil, fmt.Errorf("generating an ssh key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "patchlab")
	if err != nil {
		return nil, "", nil, fmt.Errorf("encoding an ssh key: %w", err)
	}
	return signer, AuthorizedKey(signer), pem.EncodeToMemory(block), nil
}

// AuthorizedKey is the line for authorized_keys (without a newline) of a key that patchlab made.
func AuthorizedKey(signer ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " patchlab"
}
