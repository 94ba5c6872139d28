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
	free, err := freeSpace(dir)
	if err != nil {
		return err
	}
	if free < leastRoom {
		return fmt.Errorf("only %d MiB are free in %s, and a run may need %d: make room, or name another disk in "+
			"PATCHLAB_RUNS_DIR", free>>20, dir, leastRoom>>20)
	}
	return nil
}

// roomForCheckpoint refuses one that could fill the disk: at most it holds all of the guest's memory, and the run needs its own
// after it.
func roomForCheckpoint(dir string, memoryMiB int) error {
	free, err := freeSpace(dir)
	if err != nil {
		return err
	}
	if least := uint64(memoryMiB)<<20 + leastRoom; free < least {
		return fmt.Errorf("only %d MiB are free in %s, and a checkpoint may need %d beside the %d of the run: make room, or name "+
			"another disk in PATCHLAB_RUNS_DIR", free>>20, dir, memoryMiB, leastRoom>>20)
	}
	return nil
}

func freeSpace(dir string) (bytes uint64, err error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("asking for the free space of %s: %w", dir, err)
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}
