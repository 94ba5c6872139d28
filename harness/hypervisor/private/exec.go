package private

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// plan is what is done between being called and becoming libvirtd.
type plan struct {
	// Mask is put over /dev/kvm, in a mount namespace that the caller has made. A file without any permission: beside
	// a device that it may open, yet that is no KVM, libvirt looks at QEMU anew on each define (30 s measured).
	Mask   string   `json:"mask,omitempty"`
	Drop   bool     `json:"drop,omitempty"` // from root to the ids below
	UID    int      `json:"uid"`
	GID    int      `json:"gid"`
	Groups []int    `json:"groups,omitempty"`
	Argv   []string `json:"argv"`
}

func (p plan) arguments() ([]string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("writing down how to start libvirtd: %w", err)
	}
	return []string{string(text)}, nil
}

// Exec is where this program arrives when [Ensure] calls it: it prepares the process and becomes libvirtd. It returns
// only when it fails.
func Exec(arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("becoming libvirtd: %d arguments, want the plan", len(arguments))
	}
	var p plan
	if err := json.Unmarshal([]byte(arguments[0]), &p); err != nil {
		return fmt.Errorf("becoming libvirtd: reading the plan: %w", err)
	}
	if len(p.Argv) == 0 {
		return errors.New("becoming libvirtd: the plan names no program")
	}
	runtime.LockOSThread() // capabilities are a thread's own, and the executing thread's count
	if p.Mask != "" {
		if err := maskKVM(p.Mask); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	if p.Drop {
		if err := p.drop(); err != nil {
			return err
		}
	}
	unix.Umask(0o022)
	return fmt.Errorf("becoming %s: %w", p.Argv[0], unix.Exec(p.Argv[0], p.Argv, unix.Environ()))
}

// maskKVM puts a file over the device. First nothing that is mounted may spread to the host.
func maskKVM(mask string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to ourselves: %w", err)
	}
	if err := unix.Mount(mask, kvmDevice, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("hiding %s: %w", kvmDevice, err)
	}
	return nil
}

// drop becomes the account, in all threads.
func (p plan) drop() error {
	if p.UID == 0 {
		return errors.New("dropping privileges: to root is not down")
	}
	if err := syscall.Setgroups(p.Groups); err != nil {
		return fmt.Errorf("dropping groups: %w", err)
	}
	if err := syscall.Setgid(p.GID); err != nil {
		return fmt.Errorf("becoming group %d: %w", p.GID, err)
	}
	if err := syscall.Setuid(p.UID); err != nil {
		return fmt.Errorf("becoming user %d: %w", p.UID, err)
	}
	return nil
}
