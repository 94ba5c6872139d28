package libvirt

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// checkReach tells in words what QEMU would report as "Permission denied" on start: files below a directory that the
// user it runs as may not enter, such as root's home.
func (l local) checkReach(spec hypervisor.DomainSpec) error {
	user := cmp.Or(l.owner, l.foreign)
	if user == nil {
		return nil
	}
	read := []string{spec.Disk.Backing, spec.Kernel, spec.Initrd, spec.Seed}
	for _, path := range append([]string{spec.Disk.Path, spec.Console, spec.Variables.Path}, read...) {
		if path == "" {
			continue
		}
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			if err := user.may(dir, 1); err != nil {
				return fmt.Errorf("%s is out of QEMU's reach: %w; keep images and runs where others may pass "+
					"(PATCHLAB_IMAGES_DIR, PATCHLAB_RUNS_DIR), or let that user pass: setfacl -m u:%d:x %s", path, err, user.UID, dir)
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	for _, path := range read {
		if path == "" {
			continue
		}
		if err := user.may(path, 4); err != nil {
			return fmt.Errorf("%s is out of QEMU's reach: %w; let others read it", path, err)
		}
	}
	return nil
}

// may tells whether the owner has a permission (4 read, 2 write, 1 enter) by the file's mode. A file that does not
// exist is for others to report.
func (o Owner) may(path string, permission fs.FileMode) error {
	if o.UID == 0 || hasList(path) {
		return nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	shift := 0
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case int(stat.Uid) == o.UID:
			shift = 6
		case int(stat.Gid) == o.GID:
			shift = 3
		}
	}
	if info.Mode().Perm()>>shift&permission == 0 {
		return fmt.Errorf("the user %s has no access to %s (%s)", o.Name, path, info.Mode().Perm())
	}
	return nil
}

// hasList tells whether a path has an access control list, of which the mode shows but a part.
func hasList(path string) bool {
	_, err := unix.Getxattr(path, "system.posix_acl_access", nil)
	return err == nil
}
