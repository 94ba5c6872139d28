package harness

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sync/semaphore"

	"github.com/patchlab/patchlab/harness/progress"
)

// qemuMiB is set aside for the QEMU of a clone beside the guest's RAM: 64 for its cache of translated code (docs/decisions/0003), 16
// for the screen's memory, and room for the rest, which was not measured by itself.
const qemuMiB = 192

// Memory is what the clones of all runs of this process may have of the host's memory together.
type Memory struct {
	total int64 // MiB
	left  *semaphore.Weighted
}

// NewMemory divides a number of MiB among clones.
func NewMemory(mebibytes int) *Memory {
	total := int64(max(0, mebibytes))
	return &Memory{total: total, left: semaphore.NewWeighted(total)}
}

// AvailableMemory returns how many MiB of this host's memory are to be had without harm to what runs on it.
func AvailableMemory() (int, error) {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("asking for the host's memory: %w", err)
	}
	return parseAvailable(string(content))
}

// parseAvailable reads /proc/meminfo, see proc(5).
func parseAvailable(text string) (int, error) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "MemAvailable:" {
			kibibytes, err := strconv.Atoi(fields[1])
			if err != nil {
				return 0, fmt.Errorf("reading /proc/meminfo: %w", err)
			}
			return kibibytes / 1024, nil
		}
	}
	return 0, fmt.Errorf("reading /proc/meminfo: no MemAvailable in it")
}

// reserveMemory waits until there is room for one more clone. A host that never has it is told of before anything starts.
func (r *run) reserveMemory(ctx context.Context) (release func(), err error) {
	nothing := func() {}
	m := r.lab.Memory
	if m == nil {
		return nothing, nil
	}
	needed := int64(r.image.MemoryMiB + qemuMiB)
	if needed > m.total {
		return nothing, fmt.Errorf("a clone of %s needs %d MiB of memory (%d of its own, the rest for QEMU), and this host has %d to spare: "+
			"end what you do not need, or take an image with less memory", r.image.Name, needed, r.image.MemoryMiB, m.total)
	}
	if !m.left.TryAcquire(needed) {
		r.emit(progress.Note, "memory", "waiting until other clones have gone", 0)
		if err := m.left.Acquire(ctx, needed); err != nil {
			return nothing, fmt.Errorf("waiting for memory: %w", context.Cause(ctx))
		}
	}
	return func() { m.left.Release(needed) }, nil
}
