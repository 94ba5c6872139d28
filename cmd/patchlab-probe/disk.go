package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/wait"
)

// deadRoot is where the root of the opened disk is, before it is ours.
const deadRoot = "/root"

// openDisk mounts the root file system of the first disk, makes it the root of this process and mounts what belongs to it.
func openDisk(ctx context.Context) protocol.Opened {
	opened := protocol.Opened{Mounted: []string{}, Problems: []string{}}
	fail := func(err error) {
		if err != nil {
			opened.Problems = append(opened.Problems, protocol.Clean(err.Error()))
		}
	}
	devices, err := partitions(ctx)
	fail(err)
	root, err := mountRoot(devices)
	if err != nil {
		fail(err)
		return opened
	}
	if err := enterRoot(); err != nil {
		fail(err)
		return opened
	}
	opened.Root = root
	for _, device := range devices {
		fail(linkNames(ctx, device))
	}
	for line := range strings.Lines(mountOthers(ctx)) {
		fail(errors.New(strings.TrimSpace(line)))
	}
	opened.Mounted = mountedBeside(root)
	return opened
}

// partitions waits for the disk, and returns the devices of its partitions and then its own: it may have none.
func partitions(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, devicePatience)
	defer cancel()
	const disk = "vda" // see the driver: the one that a guest boots from is the first
	err := wait.Until(ctx, "the disk", deviceInterval, func(context.Context) (bool, error) {
		_, err := os.Stat("/dev/" + disk)
		return err == nil, nil
	})
	if err != nil {
		return nil, err
	}
	found, _ := filepath.Glob("/sys/class/block/" + disk + "[0-9]*") // the pattern is a good one
	slices.SortFunc(found, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b) // vda2 before vda10
		}
		return strings.Compare(a, b)
	})
	devices := make([]string, 0, len(found)+1)
	for _, path := range found {
		devices = append(devices, "/dev/"+filepath.Base(path))
	}
	return append(devices, "/dev/"+disk), nil
}

// mountRoot finds the file system that has an /etc, as patchlab does on an image's disk.
func mountRoot(devices []string) (string, error) {
	if err := os.MkdirAll(deadRoot, 0o755); err != nil {
		return "", err
	}
	var failures []error
	for _, device := range devices {
		if err := unix.Mount(device, deadRoot, "ext4", unix.MS_NOATIME, ""); err != nil {
			failures = append(failures, fmt.Errorf("mounting %s: %w", device, err))
			continue
		}
		if info, err := os.Stat(deadRoot + "/etc"); err == nil && info.IsDir() {
			return device, nil
		}
		failures = append(failures, fmt.Errorf("%s has no /etc", device), unix.Unmount(deadRoot, 0))
	}
	return "", fmt.Errorf("no root file system was found: %w", errors.Join(failures...))
}

// enterRoot takes along what the kernel offers, and leaves the first file system, as switch_root(8) does.
func enterRoot() error {
	var failures []error
	for _, dir := range []string{"dev", "proc", "sys"} {
		to := filepath.Join(deadRoot, dir)
		failures = append(failures, os.MkdirAll(to, 0o755), unix.Mount("/"+dir, to, "", unix.MS_MOVE, ""))
	}
	run := filepath.Join(deadRoot, "run")
	failures = append(failures,
		os.MkdirAll(run, 0o755), unix.Mount("tmpfs", run, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"),
		os.MkdirAll(deadRoot+"/dev/pts", 0o755), unix.Mount("devpts", deadRoot+"/dev/pts", "devpts", 0, "mode=620,gid=5"),
		os.MkdirAll(deadRoot+protocol.Dir, 0o711), takeAlong(protocol.IndexDir, deadRoot+protocol.Dir),
		os.Chdir(deadRoot), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), os.Chdir("/"))
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("entering the disk: %w", err)
	}
	return nil
}

// takeAlong copies the files of a directory, which may not be there.
func takeAlong(from, to string) error {
	files, _ := filepath.Glob(filepath.Join(from, "*")) // the pattern is a good one
	var failures []error
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(file)), content, 0o600)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// toolPatience bounds a program of the opened system that mounts, or asks what can be mounted.
const toolPatience = time.Minute

// tool runs a program of the opened system, which may be as broken as the rest of it.
func tool(ctx context.Context, name string, arguments ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, toolPatience)
	defer cancel()
	command := exec.CommandContext(ctx, name, arguments...)
	command.Env = environment()
	command.WaitDelay = time.Second
	const most = 64 << 10
	out, complaints := &bounded{left: most}, &bounded{left: most}
	command.Stdout, command.Stderr = out, complaints
	err = command.Run()
	return out.content.String(), complaints.content.String(), err
}

// linkNames makes the links in /dev/disk by which boot loaders and initrds are configured; who makes them otherwise does not run.
func linkNames(ctx context.Context, device string) error {
	told, _, err := tool(ctx, "/sbin/blkid", "-p", "-o", "export", device)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 2 {
		return nil // there is nothing on it that has a name
	}
	if err != nil {
		return fmt.Errorf("asking for the names of %s: %w", device, err)
	}
	var failures []error
	for line := range strings.Lines(told) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		dir, known := map[string]string{
			"UUID": "by-uuid", "LABEL": "by-label", "PART_ENTRY_UUID": "by-partuuid", "PART_ENTRY_NAME": "by-partlabel",
		}[key]
		if !known || value == "" || value != filepath.Base(value) {
			continue
		}
		dir = filepath.Join("/dev/disk", dir)
		failures = append(failures, os.MkdirAll(dir, 0o755), os.Symlink("../../"+filepath.Base(device), filepath.Join(dir, value)))
	}
	return errors.Join(failures...)
}

// mountOthers mounts what the system's own fstab says, as far as it is on this disk, and returns what mount complains of.
func mountOthers(ctx context.Context) string {
	_, complaints, err := tool(ctx, "/bin/mount", "--all", "--types", "ext2,ext3,ext4,vfat")
	if err != nil && complaints == "" {
		return "mounting what /etc/fstab says: " + err.Error()
	}
	return complaints
}

// mountedBeside returns where the other file systems of the disk are.
func mountedBeside(root string) []string {
	points := []string{}
	for _, m := range diskMounts() {
		if m.device != root {
			points = append(points, protocol.Clean(m.point))
		}
	}
	slices.Sort(points)
	return points
}

type diskMount struct{ device, point string }

// diskMounts returns what of the disk is mounted, in the order in which it was.
func diskMounts() []diskMount {
	content, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	var found []diskMount
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.HasPrefix(fields[0], "/dev/") {
			found = append(found, diskMount{fields[0], fields[1]})
		}
	}
	return found
}

// writeBack leaves the disk as an orderly shutdown does: nothing is to be repaired when it is mounted again.
func writeBack() error {
	_ = unix.Kill(-1, unix.SIGKILL) // everybody but ourselves; nobody is left if it fails
	unix.Sync()
	var failures []error
	mounts := diskMounts()
	slices.Reverse(mounts)
	for _, m := range mounts {
		if err := unix.Mount("", m.point, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			failures = append(failures, fmt.Errorf("writing back %s: %w", m.point, err))
		}
	}
	return errors.Join(failures...)
}
