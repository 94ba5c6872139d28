// Package keptguest reaches a guest that a run left running (`patchlab run --keep`), by what lies in its run directory.
package keptguest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/rundir"
)

// Variable names the run directory of the real guest that VM tests talk to.
const Variable = "PATCHLAB_KEPT_RUN"

// Config tells how to connect to the guest that was kept in a run directory.
func Config(dir string) (sshguest.Config, error) {
	if dir == "" {
		return sshguest.Config{}, errors.New("no run directory: keep a guest with `patchlab run --keep SCENARIO`, and name its " +
			"run directory in " + Variable)
	}
	kept, err := rundir.ReadKept(dir)
	if err != nil {
		return sshguest.Config{}, err
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(kept.HostKey))
	if err != nil {
		return sshguest.Config{}, fmt.Errorf("reading the guest's host key: %w", err)
	}
	private, err := os.ReadFile(filepath.Join(dir, rundir.Key))
	if err != nil {
		return sshguest.Config{}, fmt.Errorf("reading the guest's key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return sshguest.Config{}, fmt.Errorf("reading the guest's key: %w", err)
	}
	return sshguest.Config{Address: kept.Address, HostKey: hostKey, Signer: signer, User: kept.User, Sudo: kept.User != "root"}, nil
}
