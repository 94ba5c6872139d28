package fake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// recorded is a machine in the file of a driver that [Open] returned.
type recorded struct {
	Spec    hypervisor.DomainSpec
	State   hypervisor.State
	Address string
	Count   uint16
}

// Open returns a driver whose domains outlive the process that made them, as those of libvirt do: they are recorded in a file,
// which need not exist. It is for one process at a time.
func Open(file string) (*Driver, error) {
	d := New()
	d.file = file
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the recorded domains: %w", err)
	}
	var machines []recorded
	if err := json.Unmarshal(content, &machines); err != nil {
		return nil, fmt.Errorf("reading the recorded domains: %w", err)
	}
	for _, m := range machines {
		d.machines[m.Spec.Name] = &machine{spec: m.Spec, state: m.State, address: m.Address, count: m.Count}
	}
	return d, nil
}

// record writes down what there is. The driver's lock is held.
func (d *Driver) record() error {
	if d.file == "" {
		return nil
	}
	machines := make([]recorded, 0, len(d.machines))
	for _, m := range d.machines {
		machines = append(machines, recorded{m.spec, m.state, m.address, m.count})
	}
	content, err := json.Marshal(machines)
	if err != nil {
		return fmt.Errorf("recording domains: %w", err)
	}
	temporary := d.file + ".new"
	if err := errors.Join(os.WriteFile(temporary, content, 0o600), os.Rename(temporary, d.file)); err != nil {
		return fmt.Errorf("recording domains: %w", err)
	}
	return nil
}
