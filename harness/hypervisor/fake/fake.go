// Package fake is a driver without a hypervisor, for tests of what stands on one.
//
// Its domains live in memory, but their overlay and console files are real, so that leftovers can be seen. A test can
// let an operation fail, kill a domain from outside, and couple a scripted guest to the domain's power.
package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

var (
	_ hypervisor.Driver        = (*Driver)(nil)
	_ hypervisor.Domain        = (*domain)(nil)
	_ hypervisor.PowerCutter   = (*domain)(nil)
	_ hypervisor.Screenshotter = (*domain)(nil)
	_ hypervisor.ScreenReader  = (*domain)(nil)
	_ hypervisor.AgentCaller   = (*domain)(nil)
	_ hypervisor.Saver         = (*domain)(nil)
	_ hypervisor.Checkpointer  = (*domain)(nil)
	_ hypervisor.ChannelDialer = (*domain)(nil)
	_ hypervisor.Keyboard      = (*domain)(nil)
	_ hypervisor.DiskHolder    = (*domain)(nil)
)

// Op is an operation of the driver or of one of its domains.
type Op string

// The operations that can be made to fail.
const (
	Define      Op = "define"
	Domains     Op = "domains"
	Lookup      Op = "lookup"
	Version     Op = "version"
	Start       Op = "start"
	State       Op = "state"
	Address     Op = "address"
	Destroy     Op = "destroy"
	CutPower    Op = "cut the power of"
	Undefine    Op = "undefine"
	Screenshot  Op = "screenshot"
	ScreenText  Op = "read the screen of"
	CallAgent   Op = "call the agent of"
	Save        Op = "save"
	Channel     Op = "reach the port of"
	Press       Op = "press keys of"
	Disk        Op = "look for the disk of"
	Checkpoint  Op = "keep a checkpoint of"
	Revert      Op = "revert"
	Checkpoints Op = "list the checkpoints of"
)

// Driver keeps its domains in memory. The hooks may be set before the first domain is defined; they are called without
// any lock held, so they may call the driver.
type Driver struct {
	// OnStart is called when a domain has been turned on, with a Resume in the spec if it goes on now. Its error makes Start fail,
	// and the domain is off again.
	OnStart func(spec hypervisor.DomainSpec) error
	// OnDestroy is called when a domain that was on has gone off: by Destroy, by CutPower, by Undefine or by
	// [Driver.Kill].
	OnDestroy func(spec hypervisor.DomainSpec)
	// OnCut is called after OnDestroy when it was CutPower that turned the domain off.
	OnCut func(spec hypervisor.DomainSpec)
	// OnAgent is the guest's agent: it answers commands while the domain is on. Without it, no agent answers.
	OnAgent func(ctx context.Context, spec hypervisor.DomainSpec, command []byte) ([]byte, error)

	// OnChannel is what is at the guest's port. Without it, nobody answers there.
	OnChannel func(spec hypervisor.DomainSpec) (net.Conn, error)

	// OnPress is told of keys that were pressed while the domain was on.
	OnPress func(spec hypervisor.DomainSpec, keys []hypervisor.Key)

	// OnCheckpoint is called when a checkpoint has been taken, OnRevert when a domain has gone on from one: at another address than
	// before, after OnDestroy if it was on.
	OnCheckpoint func(spec hypervisor.DomainSpec, name string)
	OnRevert     func(spec hypervisor.DomainSpec, name string)

	// Screen is what every guest's text screen shows, unless OnScreen says otherwise.
	Screen   string
	OnScreen func(spec hypervisor.DomainSpec) string

	mu       sync.Mutex
	machines map[string]*machine
	file     string // see [Open]
	broken   error  // see [Driver.Break]
	faults   map[Op][]error
	started  int // how many starts there were: each gets an address of its own
}

// machine is what the driver knows of one domain. Handles find it by name and identity: a name may be defined anew.
type machine struct {
	spec    hypervisor.DomainSpec
	state   hypervisor.State
	address string
	resume  hypervisor.Saved // what the next start goes on from
	count   uint16           // see [Driver.Work]
}

// New returns a driver without domains.
func New() *Driver {
	return &Driver{machines: map[string]*machine{}, faults: map[Op][]error{}}
}

// FailNext makes the next call of an operation fail with err. Called several times, the errors are given in turn.
func (d *Driver) FailNext(op Op, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[op] = append(d.faults[op], err)
}

// Break makes every later operation fail with err, as when libvirtd is gone; the domains live on. nil mends the driver.
func (d *Driver) Break(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

// Kill ends a running domain as if somebody had killed its hypervisor process. It returns an error that wraps
// [hypervisor.ErrNotFound] if there is no such domain.
func (d *Driver) Kill(name string) error {
	return d.end(name, hypervisor.StateCrashed)
}

// PowerOff turns a running domain off as its guest does by itself. It returns an error that wraps [hypervisor.ErrNotFound] if
// there is no such domain.
func (d *Driver) PowerOff(name string) error {
	return d.end(name, hypervisor.StateOff)
}

// end takes the power from a running domain, without a word to its driver.
func (d *Driver) end(name string, state hypervisor.State) error {
	d.mu.Lock()
	m, ok := d.machines[name]
	if !ok {
		d.mu.Unlock()
		return fmt.Errorf("ending %s: %w", name, hypervisor.ErrNotFound)
	}
	off := m.turnOff(state)
	d.mu.Unlock()
	d.wentOff(m, off)
	return nil
}

// Pause stops a running domain as QEMU does by itself when the host has no room for what the guest writes. It returns an
// error that wraps [hypervisor.ErrNotFound] if there is no such domain.
func (d *Driver) Pause(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	m, ok := d.machines[name]
	if !ok {
		return fmt.Errorf("pausing %s: %w", name, hypervisor.ErrNotFound)
	}
	m.state = hypervisor.StatePaused
	return nil
}

// begin is the first thing that every operation does: it fails when the context has ended or a fault is due, else it
// returns with the lock held.
func (d *Driver) begin(ctx context.Context, op Op, what string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", op, what, context.Cause(ctx))
	}
	d.mu.Lock()
	if d.broken != nil {
		defer d.mu.Unlock()
		return fmt.Errorf("%s %s: %w", op, what, d.broken)
	}
	if due := d.faults[op]; len(due) > 0 {
		d.faults[op] = due[1:]
		d.mu.Unlock()
		return fmt.Errorf("%s %s: %w", op, what, due[0])
	}
	return nil
}

// Define makes the domain, its console, its EFI variables and, above a backing image, an overlay.
func (d *Driver) Define(ctx context.Context, spec hypervisor.DomainSpec) (hypervisor.Domain, error) {
	if err := d.begin(ctx, Define, spec.Name); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if _, ok := d.machines[spec.Name]; ok {
		return nil, fmt.Errorf("defining %s: %w", spec.Name, hypervisor.ErrExists)
	}
	if err := makeFiles(spec); err != nil {
		return nil, fmt.Errorf("defining %s: %w", spec.Name, err)
	}
	m := &machine{spec: spec, state: hypervisor.StateOff, resume: spec.Resume}
	d.machines[spec.Name] = m
	return &domain{driver: d, machine: m}, d.record()
}

func makeFiles(spec hypervisor.DomainSpec) error {
	disk := spec.Disk.Path
	if spec.Disk.Backing != "" {
		disk = spec.Disk.Backing
	}
	if _, err := os.Stat(disk); err != nil {
		return fmt.Errorf("looking for the disk: %w", err)
	}
	for what, path := range map[string]string{"seed": spec.Seed, "saved state": spec.Resume.State, "saved memory": spec.Resume.Memory} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("looking for the %s: %w", what, err)
		}
	}
	console, err := os.OpenFile(spec.Console, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("creating the console's file: %w", err)
	}
	if err := console.Close(); err != nil {
		return fmt.Errorf("creating the console's file: %w", err)
	}
	if spec.Firmware == hypervisor.EFI {
		if err := makeVariables(spec.Variables); err != nil {
			return errors.Join(err, os.Remove(spec.Console))
		}
	}
	if spec.Memory != "" {
		if err := os.WriteFile(spec.Memory, nil, 0o600); err != nil {
			return fmt.Errorf("creating the memory's file: %w", err)
		}
	}
	if spec.Disk.Backing == "" {
		return nil
	}
	overlay, err := os.OpenFile(spec.Disk.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return errors.Join(fmt.Errorf("creating the overlay: %w", err), os.Remove(spec.Console), removeFile(spec.Variables.Path))
	}
	if err := overlay.Close(); err != nil {
		return fmt.Errorf("creating the overlay: %w", err)
	}
	return nil
}

// makeVariables copies the image's variables, or those of the fake's firmware, which are empty.
func makeVariables(variables hypervisor.Variables) error {
	var content []byte
	if variables.From != "" {
		var err error
		if content, err = os.ReadFile(variables.From); err != nil {
			return fmt.Errorf("copying the EFI variables: %w", err)
		}
	}
	file, err := os.OpenFile(variables.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copying the EFI variables: %w", err)
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(fmt.Errorf("copying the EFI variables: %w", err), os.Remove(variables.Path))
	}
	return nil
}

// Domains lists the domains by name.
func (d *Driver) Domains(ctx context.Context) ([]hypervisor.Owned, error) {
	if err := d.begin(ctx, Domains, "of all runs"); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	owned := make([]hypervisor.Owned, 0, len(d.machines))
	for name, m := range d.machines {
		owned = append(owned, hypervisor.Owned{Name: name, RunID: m.spec.RunID, RunDir: m.spec.RunDir, State: m.state})
	}
	slices.SortFunc(owned, func(a, b hypervisor.Owned) int { return cmp.Compare(a.Name, b.Name) })
	return owned, nil
}

// Lookup finds a domain.
func (d *Driver) Lookup(ctx context.Context, name string) (hypervisor.Domain, error) {
	if err := d.begin(ctx, Lookup, name); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	m, ok := d.machines[name]
	if !ok {
		return nil, fmt.Errorf("looking up %s: %w", name, hypervisor.ErrNotFound)
	}
	return &domain{driver: d, machine: m}, nil
}

// Version is always the same.
func (d *Driver) Version(ctx context.Context) (string, error) {
	if err := d.begin(ctx, Version, "of the fake"); err != nil {
		return "", err
	}
	defer d.mu.Unlock()
	return "fake 1.0", nil
}

// Close does nothing: the domains live on.
func (d *Driver) Close() error { return nil }

// turnOff puts the machine into a state without power and tells whether it was on. The driver's lock is held.
func (m *machine) turnOff(state hypervisor.State) bool {
	if m.state != hypervisor.StateRunning && m.state != hypervisor.StatePaused {
		return false
	}
	m.state, m.address = state, ""
	return true
}

func (d *Driver) wentOff(m *machine, off bool) {
	if off && d.OnDestroy != nil {
		d.OnDestroy(m.spec)
	}
}

// removeFiles takes the machine's overlay, variables and checkpoints away; what is gone already is no error.
func (m *machine) removeFiles() error {
	err := removeFile(m.spec.Variables.Path)
	if m.spec.Disk.Backing != "" {
		err = errors.Join(err, removeFile(m.spec.Disk.Path))
	}
	if m.spec.Checkpoints != "" {
		err = errors.Join(err, os.RemoveAll(m.spec.Checkpoints))
	}
	if err != nil {
		return fmt.Errorf("removing the files of %s: %w", m.spec.Name, err)
	}
	return nil
}

func removeFile(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
