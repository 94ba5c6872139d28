package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/hypervisor/ovmf"
)

// ThisHost fills in how to ask the host we run on. Measure, Connect and the directories are left to the caller.
func ThisHost() Host {
	return Host{
		Root: os.Geteuid() == 0,
		Find: func(name string) (string, bool) {
			return find(name, filepath.SplitList(os.Getenv("PATH")))
		},
		Output: output,
		Exists: func(path string) bool {
			_, err := os.Stat(path)
			return err == nil
		},
		AvailableMemory:   func() (uint64, error) { return availableMemory("/proc/meminfo") },
		FreeSpace:         freeSpace,
		HasSubordinateIDs: hasSubordinateIDs,
		Firmware: func() (string, error) {
			firmware, err := ovmf.Find(0)
			return firmware.Code, err
		},
	}
}

// find looks for a program, also where it is not on an ordinary user's PATH.
func find(name string, path []string) (string, bool) {
	for _, dir := range append(path, "/usr/local/sbin", "/usr/sbin", "/sbin") {
		candidate := filepath.Join(dir, name)
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return candidate, true
		}
	}
	return "", false
}

func output(ctx context.Context, path string, arguments ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, path, arguments...)
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// availableMemory is what programs can have without swapping, by the kernel's own estimate.
func availableMemory(meminfo string) (uint64, error) {
	content, err := os.ReadFile(meminfo)
	if err != nil {
		return 0, fmt.Errorf("asking for the memory: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "MemAvailable:" {
			continue
		}
		kib, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("asking for the memory: %w", err)
		}
		return kib * 1024, nil
	}
	return 0, fmt.Errorf("asking for the memory: %s has no MemAvailable", meminfo)
}

// freeSpace asks at the nearest directory that exists.
func freeSpace(dir string) (uint64, error) {
	for at := dir; ; at = filepath.Dir(at) {
		var stat unix.Statfs_t
		err := unix.Statfs(at, &stat)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("asking for the space in %s: %w", dir, err)
		}
		return stat.Bavail * uint64(stat.Bsize), nil
	}
}

func hasSubordinateIDs() (bool, error) {
	me, err := user.Current()
	if err != nil {
		return false, fmt.Errorf("asking who we are: %w", err)
	}
	for _, path := range []string{"/etc/subuid", "/etc/subgid"} {
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("asking for subordinate ids: %w", err)
		}
		if !grants(string(content), me.Username, me.Uid) {
			return false, nil
		}
	}
	return true, nil
}

// grants tells whether a file of lines NAME-OR-ID:FIRST:COUNT gives ids to the user.
func grants(content, name, id string) bool {
	for line := range strings.Lines(content) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) == 3 && (fields[0] == name || fields[0] == id) && fields[2] != "0" {
			return true
		}
	}
	return false
}
