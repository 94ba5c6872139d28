package fake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/counter"
)

// kept is a checkpoint, as it is recorded.
type kept struct {
	Number    int
	Taken     time.Time
	Memory    uint16
	Disk      []byte
	Variables []byte
}

const keptFile = "checkpoint.json"

// Work has the guest of a running domain count once, in its memory and on its disk, and tell it on its console, as that of package
// counter does.
func (d *Driver) Work(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	m, ok := d.machines[name]
	if !ok || m.state != hypervisor.StateRunning {
		return fmt.Errorf("working in %s: %w, or it does not run", name, hypervisor.ErrNotFound)
	}
	onDisk, err := readCount(m.spec.Disk.Path)
	if err != nil {
		return fmt.Errorf("working in %s: %w", name, err)
	}
	console, err := os.OpenFile(m.spec.Console, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("working in %s: %w", name, err)
	}
	_, err = console.WriteString("\n" + counter.Count{Memory: m.count, Disk: onDisk}.Line())
	m.count++
	writing := os.WriteFile(m.spec.Disk.Path, []byte(strconv.Itoa(int(m.count))), 0o600)
	if err := errors.Join(err, console.Close(), writing); err != nil {
		return fmt.Errorf("working in %s: %w", name, err)
	}
	return d.record()
}

// readCount reads what a guest has written to its disk; nothing yet is none.
func readCount(disk string) (uint16, error) {
	content, err := os.ReadFile(disk)
	if err != nil || len(content) == 0 {
		return 0, err
	}
	count, err := strconv.ParseUint(string(content), 10, 16)
	return uint16(count), err
}

// Checkpoint copies what there is of the guest.
func (d *domain) Checkpoint(ctx context.Context, name string) error {
	if err := d.begin(ctx, Checkpoint); err != nil {
		return err
	}
	err := d.keep(name)
	spec := d.machine.spec
	d.driver.mu.Unlock()
	if err != nil {
		return fmt.Errorf("keeping checkpoint %s of %s: %w", name, spec.Name, err)
	}
	if d.driver.OnCheckpoint != nil {
		d.driver.OnCheckpoint(spec, name)
	}
	return nil
}

// keep is called with the driver's lock held.
func (d *domain) keep(name string) error {
	m := d.machine
	if m.spec.Checkpoints == "" {
		return hypervisor.ErrCannotCheckpoint
	}
	if m.state != hypervisor.StateRunning {
		return fmt.Errorf("it is %s", m.state)
	}
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsRune(name, '/') {
		return fmt.Errorf("name %q: want letters, digits, dots and dashes", name)
	}
	all, err := m.checkpoints()
	if err != nil {
		return err
	}
	if _, taken := all[name]; taken {
		return errors.New("there is one of that name")
	}
	now := kept{Number: len(all), Taken: time.Now().UTC(), Memory: m.count}
	if now.Disk, err = os.ReadFile(m.spec.Disk.Path); err != nil {
		return err
	}
	if m.spec.Variables.Path != "" {
		if now.Variables, err = os.ReadFile(m.spec.Variables.Path); err != nil {
			return err
		}
	}
	content, err := json.Marshal(now)
	if err != nil {
		return err
	}
	dir := filepath.Join(m.spec.Checkpoints, name)
	return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, keptFile), content, 0o600))
}

// checkpoints reads them by name.
func (m *machine) checkpoints() (map[string]kept, error) {
	found := map[string]kept{}
	entries, err := os.ReadDir(m.spec.Checkpoints)
	if m.spec.Checkpoints == "" || errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	for _, entry := range entries {
		content, reading := os.ReadFile(filepath.Join(m.spec.Checkpoints, entry.Name(), keptFile))
		var k kept
		err = errors.Join(err, reading)
		if reading == nil {
			err = errors.Join(err, json.Unmarshal(content, &k))
		}
		found[entry.Name()] = k
	}
	return found, err
}

// Revert brings back what was copied.
func (d *domain) Revert(ctx context.Context, name string) error {
	if err := d.begin(ctx, Revert); err != nil {
		return err
	}
	m := d.machine
	spec := m.spec
	all, err := m.checkpoints()
	to, taken := all[name]
	if err == nil && !taken {
		err = hypervisor.ErrNoCheckpoint
	}
	if err != nil {
		d.driver.mu.Unlock()
		return fmt.Errorf("reverting %s to %s: %w", spec.Name, name, err)
	}
	off := m.turnOff(hypervisor.StateOff)
	d.driver.mu.Unlock()
	d.driver.wentOff(m, off)

	d.driver.mu.Lock()
	m.count = to.Memory
	err = os.WriteFile(spec.Disk.Path, to.Disk, 0o600)
	if spec.Variables.Path != "" {
		err = errors.Join(err, os.WriteFile(spec.Variables.Path, to.Variables, 0o600))
	}
	if err == nil {
		err = d.goOn()
	}
	d.driver.mu.Unlock()
	if err == nil && d.driver.OnRevert != nil {
		d.driver.OnRevert(spec, name)
	}
	if err != nil {
		return fmt.Errorf("reverting %s to %s: %w", spec.Name, name, err)
	}
	return nil
}

// Checkpoints lists them.
func (d *domain) Checkpoints(ctx context.Context) ([]hypervisor.Checkpoint, error) {
	if err := d.begin(ctx, Checkpoints); err != nil {
		return nil, err
	}
	defer d.driver.mu.Unlock()
	all, err := d.machine.checkpoints()
	if err != nil {
		return nil, fmt.Errorf("listing the checkpoints of %s: %w", d.machine.spec.Name, err)
	}
	listed := make([]hypervisor.Checkpoint, len(all))
	for name, k := range all {
		listed[k.Number] = hypervisor.Checkpoint{Name: name, Taken: k.Taken, MemoryBytes: 1, DiskBytes: int64(len(k.Disk))}
	}
	return slices.Clip(listed), nil
}
