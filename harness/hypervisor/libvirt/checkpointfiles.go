package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// What the directory of one checkpoint holds. The disk is elsewhere: it was the guest's, and is the backing file of all that came
// afterwards.
const (
	stateFile     = "state"        // RAM and devices
	variablesFile = "variables.fd" // of an EFI domain
	entryFile     = "checkpoint.json"
)

// layerPattern names the overlays that follow the domain's first, beside the checkpoints.
const layerPattern = "layer-*.qcow2"

// entry describes a checkpoint. It is written last: without it, there is none.
type entry struct {
	Taken time.Time `json:"taken"`
	Disk  string    `json:"disk"` // the overlay that was the guest's disk, and is not written to any more
}

// checkpoints is the directory with all those of one domain.
type checkpoints string

// dots and dashes do not come first: the name is a directory's.
var checkpointRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

func (c checkpoints) file(name, file string) string { return filepath.Join(string(c), name, file) }

// begin makes the directory of a new checkpoint, in place of one that did not come about.
func (c checkpoints) begin(name string) error {
	if !checkpointRule.MatchString(name) {
		return fmt.Errorf("name %q: want letters, digits, dots and dashes", name)
	}
	_, err := c.read(name)
	if err == nil {
		return fmt.Errorf("there is a checkpoint %s already", name)
	}
	if !errors.Is(err, hypervisor.ErrNoCheckpoint) {
		return err
	}
	// QEMU's user passes through to its disks; nobody looks around.
	if err := os.Mkdir(string(c), 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return errors.Join(c.drop(name), os.Mkdir(c.file(name, ""), 0o700))
}

// drop removes a checkpoint that did not come about.
func (c checkpoints) drop(name string) error { return os.RemoveAll(c.file(name, "")) }

func (c checkpoints) finish(name string, e entry) error {
	content, err := json.Marshal(e)
	if err != nil {
		return err
	}
	temporary := c.file(name, entryFile+".new")
	return errors.Join(os.WriteFile(temporary, content, 0o600), os.Rename(temporary, c.file(name, entryFile)))
}

func (c checkpoints) read(name string) (entry, error) {
	none := fmt.Errorf("%w: %s", hypervisor.ErrNoCheckpoint, name)
	if c == "" || !checkpointRule.MatchString(name) {
		return entry{}, none
	}
	content, err := os.ReadFile(c.file(name, entryFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return entry{}, none
	}
	if err != nil {
		return entry{}, fmt.Errorf("reading checkpoint %s: %w", name, err)
	}
	var e entry
	if err := json.Unmarshal(content, &e); err != nil {
		return entry{}, fmt.Errorf("reading checkpoint %s: %w", name, err)
	}
	return e, nil
}

// all lists the checkpoints in the order in which they were taken.
func (c checkpoints) all() ([]hypervisor.Checkpoint, error) {
	found := []hypervisor.Checkpoint{}
	if c == "" {
		return found, nil
	}
	files, err := os.ReadDir(string(c))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, file := range files {
		e, err := c.read(file.Name())
		if errors.Is(err, hypervisor.ErrNoCheckpoint) {
			continue
		}
		if err != nil {
			return nil, err
		}
		memory, err := occupied(c.file(file.Name(), stateFile))
		if err != nil {
			return nil, err
		}
		disk, err := occupied(e.Disk)
		if err != nil {
			return nil, err
		}
		found = append(found, hypervisor.Checkpoint{Name: file.Name(), Taken: e.Taken, MemoryBytes: memory, DiskBytes: disk})
	}
	slices.SortFunc(found, func(a, b hypervisor.Checkpoint) int {
		if order := a.Taken.Compare(b.Taken); order != 0 {
			return order
		}
		return strings.Compare(a.Name, b.Name)
	})
	return found, nil
}

// occupied is how much room a file takes.
func occupied(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		const block = 512
		return stat.Blocks * block, nil
	}
	return info.Size(), nil
}

// isFrozen tells whether an overlay is the disk of a checkpoint.
func (c checkpoints) isFrozen(disk string) (bool, error) {
	files, err := os.ReadDir(string(c))
	if err != nil {
		return false, err
	}
	for _, file := range files {
		e, err := c.read(file.Name())
		if err != nil && !errors.Is(err, hypervisor.ErrNoCheckpoint) {
			return false, err
		}
		if err == nil && e.Disk == disk {
			return true, nil
		}
	}
	return false, nil
}

// newLayer makes an empty file for what the guest writes from now on: QEMU's own.
func (l local) newLayer(c checkpoints) (string, error) {
	file, err := os.CreateTemp(string(c), layerPattern)
	if err != nil {
		return "", err
	}
	err = errors.Join(file.Close(), l.handOverUnlisted(file.Name()))
	if err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// newLayerOn makes an overlay on a checkpoint's disk.
func (l local) newLayerOn(ctx context.Context, c checkpoints, disk string) (string, error) {
	layer, err := l.newLayer(c)
	if err != nil {
		return "", err
	}
	err = createOverlay(ctx, hypervisor.Disk{Path: layer, Backing: disk})
	if err != nil {
		return "", errors.Join(err, os.Remove(layer))
	}
	return layer, nil
}

// freeze lets nobody write to what was the guest's disk; QEMU, whose it is, reads on.
func (l local) freeze(disk string) error {
	return errors.Join(l.handOverUnlisted(disk), os.Chmod(disk, 0o400))
}

// restore makes a file what another one is, and leaves its owner and its mode.
func restore(path, from string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close() //nolint:errcheck // it was only read
	target, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}
