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

// account is who the private libvirt runs as: the owner of its directories. They keep their owner when libvirt-qemu appears on
// the host later, as one that runs would lose them, and a new one has to govern the QEMUs of one that died.
func (l layout) account() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	return l.accountToDrop()
}

func (l layout) accountToDrop() (account, error) {
	info, err := os.Lstat(l.runtime())
	if errors.Is(err, fs.ErrNotExist) {
		return chooseAccount()
	}
	if err != nil {
		return account{}, fmt.Errorf("looking for the owner of the private libvirt: %w", err)
	}
	stat, isUnix := info.Sys().(*syscall.Stat_t)
	if !isUnix || stat.Uid == 0 { // who made it died before handing it over
		return chooseAccount()
	}
	found, err := user.LookupId(strconv.FormatUint(uint64(stat.Uid), 10))
	if _, unknown := errors.AsType[user.UnknownUserIdError](err); unknown {
		return account{}, fmt.Errorf("%s belongs to the user %d, who is no longer on this host: remove that directory",
			l.dir, stat.Uid)
	}
	if err != nil {
		return account{}, fmt.Errorf("looking for the owner of the private libvirt: %w", err)
	}
	return fromUser(found)
}

// chooseAccount is for a libvirt started by root that has no directories yet.
func chooseAccount() (account, error) {
	// The first comes with Debian's package libvirt-daemon-system, the second is everywhere.
	for _, name := range []string{"libvirt-qemu", "nobody"} {
		found, err := user.Lookup(name)
		if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
			continue
		}
		if err != nil {
			return account{}, fmt.Errorf("looking for a user to run QEMU as: %w", err)
		}
		return fromUser(found)
	}
	return account{}, errors.New("looking for a user to run QEMU as: the host has neither libvirt-qemu nor nobody")
}

func fromUser(found *user.User) (account, error) {
	uid, err := strconv.Atoi(found.Uid)
	if err != nil {
		return account{}, fmt.Errorf("looking for a user to run QEMU as: %s has the id %q", found.Username, found.Uid)
	}
	gid, err := strconv.Atoi(found.Gid)
	if err != nil {
		return account{}, fmt.Errorf("looking for a user to run QEMU as: %s has the group %q", found.Username, found.Gid)
	}
	return account{name: found.Username, uid: uid, gid: gid, drop: true}, nil
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
