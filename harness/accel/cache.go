package accel

import (
	"fmt"
	"os"

	"github.com/patchlab/patchlab/harness/hostboot"
)

// cacheKey names everything that the answer depends on: another boot may be another machine below this one, another
// emulator may be faster, and access to KVM comes with a group.
func cacheKey(qemu string, state KVMState) (string, error) {
	boot, err := hostboot.ID()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(qemu)
	if err != nil {
		return "", fmt.Errorf("looking at the emulator: %w", err)
	}
	return fmt.Sprintf("%s %s %d %d %q %d", boot, qemu, info.Size(), info.ModTime().UnixNano(), state, iterations), nil
}
