// Package fact holds what a probe read from a guest: typed statements that can be compared.
//
// A fact is {kind, name, attributes}. A [Set] is sorted and renders byte-identically for the same guest state, so that
// two sets can be compared, hashed and cached.
package fact

import "cmp"

// Kind says what a fact is about. Kinds are open: a new one needs a collector in the probe, nothing here.
type Kind string

// The kinds that the probe of this version reads, with their attributes. Every attribute is a string;
// an attribute that does not apply is absent, never empty.
const (
	// KindPackage is an installed package, named NAME:ARCH. version, status (dpkg's third status word, or rpm's
	// "installed"), held ("true"), auto ("true" when only installed as a dependency), manager ("rpm"; absent for dpkg).
	// rpm's package in several versions, as kernels are, has them all in version, separated by spaces.
	KindPackage Kind = "package"
	// KindUnit is a unit of the init system, named as systemd names it. load, active, sub, enabled (unit file state),
	// result, type (service type), fragment (unit file path).
	KindUnit Kind = "unit"
	// KindProcess is one unit's processes of one executable, named UNIT EXECUTABLE (sessions of people as user-UID.slice,
	// no unit as -). count, users (sorted, comma
	// separated), pids (sorted, comma separated; always volatile), detached ("true" when one of a session has left it: it has no
	// terminal, and its parent has gone).
	KindProcess Kind = "process"
	// KindPort is a listening socket, named PROTOCOL/ADDRESS:PORT, where * is any address (tcp/*:80,
	// udp/127.0.0.1:323) or unix/PATH. unit, executable, user.
	KindPort Kind = "port"
	// KindFile is a file of the system, named by its path: on the root file system and the others of its disks that belong to the
	// system (/boot, /usr, /var, ...). type (file, dir, link, other), mode (octal, four digits), owner (user:group), target (of a
	// link), package (which owns it), sha256 and size (of contents that are read, see below), caps (file capabilities, as getcap
	// writes them: cap_net_raw=ep), conffile (the digest that the package shipped, when it is one), edited ("true" for a conffile
	// that is not as it was shipped), text (only below /etc, for UTF-8 files up to 64 KiB that every user may read).
	//
	// Contents are not read of files beyond 256 MiB, nor, unless they may be executed, of what is below /var/log, /var/cache,
	// /var/spool (but for cron), /var/tmp and /tmp, and below the rest of /var, /home, /srv, /mnt and /media of files beyond 64 KiB
	// (16 MiB for those of root). Other systems' files (/var/lib/docker and the like) are not told. A set without a fact for "/"
	// has only what is below /etc.
	KindFile Kind = "file"
	// KindUser is an account. uid, gid, home, shell, groups (sorted, comma separated), locked ("true", "false").
	// A password hash is never read into a fact.
	KindUser Kind = "user"
	// KindMount is a mounted file system, named by its mount point. source, fstype, options.
	KindMount Kind = "mount"
	// KindKernel is a kernel, named running, default (what the boot loader would start) or installed:RELEASE. release,
	// for installed ones image, initrd (paths) and package; cmdline of the running and the default one.
	KindKernel Kind = "kernel"
	// KindBoot is one of the things that the next boot depends on, read before a reboot only and in a set of its own. state is "whole",
	// "missing", "cut off: WHY" or "unknown: WHY". Named:
	//   - loader: GRUB's configuration. config (its path), text, modified and settings (when it and /etc/default/grub were written,
	//     seconds since 1970), state, saved_entry, next_entry.
	//   - named (UUID)/PATH: a file as the configuration names it. path (where the running system has it).
	//   - file PATH: a kernel, an initrd, an EFI program or a configuration beside one. what (kernel, initrd, loader, stub), state, size,
	//     changed; of a kernel release and package; of an initrd releases and modules (comma separated); of a stub text.
	//   - running (release), root (device, fstype, needs: modules), modules RELEASE (state, needs: all modules that the root device
	//     asks this kernel to load, lacks: those that are not there).
	//   - firmware: kind (bios, efi), order, current, next. disk NAME: state (grub, "grub: WHY", other, none), boot ("true" for the one
	//     with /boot). efi NUMBER: title, partition, file, active. esp MOUNTPOINT: partition.
	//   - device NAME (node), fstab MOUNTPOINT, fstab swap SOURCE and crypttab NAME (source, fstype, options).
	//   - room DIRECTORY: mount, fstype, free and total (bytes), inodes, readonly.
	//   - target: unit, path, state of default.target. program UNIT: path of one that an enabled service lacks.
	//   - emergency: locked, forced (whether a login without a password was allowed). autoremove: packages.
	//   - check PROGRAM: what a daemon says of its own configuration. unit, command, exit, text.
	KindBoot Kind = "boot"
	// KindSysctl is a setting of the kernel that can be written, named as sysctl names it (vm.swappiness). value; configured (what
	// the files of sysctl.d say that a boot sets).
	KindSysctl Kind = "sysctl"
	// KindAddress is a network address, named LINK ADDRESS/PREFIX, but for those of the loopback and of links. dynamic ("true" when it is
	// lent for a time), configured (the file of the network's configuration that names it).
	KindAddress Kind = "address"
	// KindStale is a process group that still maps a deleted file, named UNIT EXECUTABLE FILE. pids, tty, users.
	KindStale Kind = "stale"
)

// Kinds returns the kinds that the probe of this version reads, sorted.
func Kinds() []Kind {
	return []Kind{
		KindAddress, KindFile, KindKernel, KindMount, KindPackage, KindPort, KindProcess, KindStale, KindSysctl, KindUnit, KindUser,
	}
}

// A Fact is one statement about a guest.
type Fact struct {
	Kind       Kind              `json:"kind"`
	Name       string            `json:"name"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Attribute returns the value of an attribute, or "" where the fact does not have it.
func (f Fact) Attribute(key string) string { return f.Attributes[key] }

// Key names a fact within a set.
type Key struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
}

// Key returns the fact's key.
func (f Fact) Key() Key { return Key{f.Kind, f.Name} }

// Compare orders keys by kind, then name.
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Kind, other.Kind), cmp.Compare(k.Name, other.Name))
}

// String renders the key as KIND NAME.
func (k Key) String() string { return string(k.Kind) + " " + k.Name }
