package collect

import "strings"

// An area says how closely what is below a directory is read.
type area int

const (
	// areaSystem is what packages and administrators put there: every file is read.
	areaSystem area = iota
	// areaState is what programs keep: read are the small files that only root may write, and programs.
	areaState
	// areaData grows and changes all the time: read are programs alone.
	areaData
	// areaForeign holds other systems, with files in thousands: nothing in it is told.
	areaForeign
)

// areas are the directories where another area begins. What is not below one of them belongs to the system.
var areas = map[string]area{
	"/var": areaState, "/home": areaState, "/srv": areaState, "/mnt": areaState, "/media": areaState,
	"/tmp": areaData, "/lost+found": areaData,
	"/var/log": areaData, "/var/cache": areaData, "/var/spool": areaData, "/var/mail": areaData, "/var/tmp": areaData,
	"/var/lib/apt/lists": areaData,
	"/var/spool/cron":    areaSystem,
	"/var/lib/docker":    areaForeign, "/var/lib/containerd": areaForeign, "/var/lib/containers": areaForeign,
	"/var/lib/lxc": areaForeign, "/var/lib/lxd": areaForeign, "/var/lib/machines": areaForeign,
	"/var/lib/libvirt/images": areaForeign, "/var/lib/flatpak": areaForeign, "/var/lib/snapd/snaps": areaForeign,
}

const (
	maxHashed = 256 << 20 // kernels, initrds and the largest programs are smaller; half a minute under emulation
	maxState  = 16 << 20  // of a file of root's that holds the state of a program
	maxOwn    = 64 << 10  // of a file that is not root's: what is larger is a database
)

// reads tells whether the content of a regular file is looked at. That it is not must follow from what a print covers.
func (a area) reads(i inode) bool {
	const executable = 0o111
	switch {
	case i.size > maxHashed:
		return false
	case a == areaSystem || i.mode&executable != 0:
		return true
	case a == areaData:
		return false
	case i.uid == 0:
		return i.size <= maxState
	default:
		return i.size <= maxOwn
	}
}

// isLocal tells whether a kind of file system lies on a disk of the machine.
func isLocal(fstype string) bool {
	return trustsTimes(fstype) || fstype == "vfat" || fstype == "msdos" || fstype == "exfat"
}

// trustsTimes tells whether a kind of file system notes every change of a file with a time that nobody can set.
func trustsTimes(fstype string) bool {
	switch fstype {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "zfs", "bcachefs":
		return true
	}
	return false
}

// belongsToSystem tells whether a file system that is mounted there is part of the system, as opposed to a disk for data.
func belongsToSystem(point string) bool {
	for _, top := range []string{"/boot", "/efi", "/usr", "/var", "/opt", "/etc", "/root"} {
		if point == top || strings.HasPrefix(point, top+"/") {
			return true
		}
	}
	return false
}
