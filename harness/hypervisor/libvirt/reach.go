package libvirt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// checkReach tells in words what QEMU would report as "Permission denied" on start: files below a directory that the
// user it runs as may not enter, such as root's home.
func (l local) checkReach(spec hypervisor.DomainSpec) error {
	if l.owner == nil {
		return nil
	}
	read := []string{spec.Disk.Backing, spec.Kernel, spec.Initrd, spec.Seed}
	for _, path := range append([]string{spec.Disk.Path, spec.Console}, read...) {
		if path == "" {
			continue
		}
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			if err := l.owner.may(dir, 1); err != nil {
				return fmt.Errorf("%s is out of QEMU's reach: %w; keep images and runs where others may pass", path, err)
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
		if err := l.owner.may(path, 4); err != nil {
			return fmt.Errorf("%s is out of QEMU's reach: %w; let others read it", path, err)
		}
	}
	return nil
}

// may tells whether the owner has a permission (4 read, 2 write, 1 enter) by the file's mode. A file that does not
// exist is for others to report.
func (o Owner) may(path string, permission fs.FileMode) error {
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
		case o.UID == 0:
			return nil
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
