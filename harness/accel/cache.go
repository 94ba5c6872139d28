package accel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

const bootIDFile = "/proc/sys/kernel/random/boot_id"

// cacheKey names everything that the answer depends on: another boot may be another machine below this one, another
// emulator may be faster, and access to KVM comes with a group.
func cacheKey(qemu string, state KVMState) (string, error) {
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", fmt.Errorf("reading the host's boot id: %w", err)
	}
	info, err := os.Stat(qemu)
	if err != nil {
		return "", fmt.Errorf("looking at the emulator: %w", err)
	}
	return fmt.Sprintf("%s %s %d %d %q %d", bytes.TrimSpace(boot), qemu, info.Size(), info.ModTime().UnixNano(), state, iterations), nil
}

// cacheFile keeps one answer.
type cacheFile struct {
	dir  string
	name string
	key  string
}

type cacheEntry struct {
	Key    string `json:"key"`
	Report Report `json:"report"`
}

func (c cacheFile) path() string { return filepath.Join(c.dir, c.name+".json") }

// read returns the answer if there is one for the key. A file that cannot be read is no answer: measuring again
// costs a second, and writes it anew.
func (c cacheFile) read() (Report, bool) {
	if c.dir == "" {
		return Report{}, false
	}
	content, err := os.ReadFile(c.path())
	if err != nil {
		return Report{}, false
	}
	var entry cacheEntry
	if err := json.Unmarshal(content, &entry); err != nil || entry.Key != c.key {
		return Report{}, false
	}
	entry.Report.Cached = true
	return entry.Report, true
}

func (c cacheFile) write(report Report) error {
	if c.dir == "" {
		return nil
	}
	content, err := json.MarshalIndent(cacheEntry{Key: c.key, Report: report}, "", "  ")
	if err != nil {
		return fmt.Errorf("keeping the accelerator's measurement: %w", err)
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return fmt.Errorf("keeping the accelerator's measurement: %w", err)
	}
	temporary, err := os.CreateTemp(c.dir, "accelerator-*.new")
	if err != nil {
		return fmt.Errorf("keeping the accelerator's measurement: %w", err)
	}
	_, err = temporary.Write(content)
	if closing := temporary.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(temporary.Name(), c.path())
	}
	if err != nil {
		_ = os.Remove(temporary.Name()) // the error above says more
		return fmt.Errorf("keeping the accelerator's measurement: %w", err)
	}
	return nil
}
