package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
)

// account is the user that libvirt and QEMU run as.
type account struct {
	name     string
	uid, gid int
	drop     bool // we are root, and become this user
}

// chooseAccount is ourselves, unless we are root.
func chooseAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	// The first comes with Debian's package libvirt-daemon-system, the second is everywhere.
	for _, name := range []string{"libvirt-qemu", "nobody"} {
		found, err := user.Lookup(name)
		if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
			continue
		}
		if err != nil {
			return account{}, fmt.Errorf("looking for a user to run QEMU as: %w", err)
		}
		uid, err := strconv.Atoi(found.Uid)
		if err != nil {
			return account{}, fmt.Errorf("looking for a user to run QEMU as: %s has the id %q", name, found.Uid)
		}
		gid, err := strconv.Atoi(found.Gid)
		if err != nil {
			return account{}, fmt.Errorf("looking for a user to run QEMU as: %s has the group %q", name, found.Gid)
		}
		return account{name: name, uid: uid, gid: gid, drop: true}, nil
	}
	return account{}, errors.New("looking for a user to run QEMU as: the host has neither libvirt-qemu nor nobody")
}

func (a account) owner() *libvirt.Owner {
	if !a.drop {
		return nil
	}
	return &libvirt.Owner{Name: a.name, UID: a.uid, GID: a.gid}
}

const kvmDevice = "/dev/kvm"

// kvmAccess tells whether the account may use KVM, and which further groups it needs for that.
func (a account) kvmAccess(device string) (groups []int, ok bool, err error) {
	info, err := os.Stat(device)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("looking at %s: %w", device, err)
	}
	if !a.drop {
		return nil, unix.Access(device, unix.R_OK|unix.W_OK) == nil, nil
	}
	stat, isUnix := info.Sys().(*syscall.Stat_t)
	if !isUnix {
		return nil, false, fmt.Errorf("looking at %s: no owner", device)
	}
	groups, ok = a.kvmGroups(info.Mode().Perm(), int(stat.Uid), int(stat.Gid))
	return groups, ok, nil
}

// kvmGroups is [account.kvmAccess] for a device of which mode and owners are known.
func (a account) kvmGroups(mode fs.FileMode, uid, gid int) (groups []int, ok bool) {
	const readWrite = 0o6
	switch {
	case mode&readWrite == readWrite:
		return nil, true
	case a.uid == uid:
		return nil, mode>>6&readWrite == readWrite
	case mode>>3&readWrite == readWrite && gid != 0:
		return []int{gid}, true // on Debian the group kvm
	default:
		return nil, false
	}
}
