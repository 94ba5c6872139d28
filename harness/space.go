package harness

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// leastRoom is what must be free on the host's disk before a run, in bytes. The overlay of the openssl and nginx updates was
// 45 MB and the evidence 9 MB (measured); a kernel with its initrds is some 300 MB, and a clone may be patched several times.
const leastRoom = 1 << 30

// roomFor refuses a run that would fill the disk before anything is started.
func roomFor(dir string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", dir, err)
	}
	if free := stat.Bavail * uint64(stat.Bsize); free < leastRoom {
		return fmt.Errorf("only %d MiB are free in %s, and a run may need %d: make room, or name another disk in "+
			"PATCHLAB_RUNS_DIR", free>>20, dir, leastRoom>>20)
	}
	return nil
}
