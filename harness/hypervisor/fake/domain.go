package fake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net"
	"os"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// domain is a handle on a machine.
type domain struct {
	driver  *Driver
	machine *machine
}

// begin is [Driver.begin] for an operation on a domain that has to exist.
func (d *domain) begin(ctx context.Context, op Op) error {
	name := d.machine.spec.Name
	if err := d.driver.begin(ctx, op, name); err != nil {
		return err
	}
	if d.driver.machines[name] != d.machine {
		d.driver.mu.Unlock()
		return fmt.Errorf("%s %s: %w", op, name, hypervisor.ErrNotFound)
	}
	return nil
}

// Start turns the domain on and writes what its guest says: [Greeting], unless it goes on from a saved one.
func (d *domain) Start(ctx context.Context) error {
	if err := d.begin(ctx, Start); err != nil {
		return err
	}
	m := d.machine
	started := m.spec
	started.Resume, m.resume = m.resume, hypervisor.Saved{} // the next start boots
	err := d.powerOn(started)
	d.driver.mu.Unlock()
	if err == nil && d.driver.OnStart != nil {
		if err = d.driver.OnStart(started); err != nil {
			d.driver.mu.Lock()
			m.turnOff(hypervisor.StateOff)
			d.driver.mu.Unlock()
		}
	}
	if err != nil {
		return fmt.Errorf("starting %s: %w", m.spec.Name, err)
	}
	return nil
}

// powerOn is called with the driver's lock held.
func (d *domain) powerOn(spec hypervisor.DomainSpec) error {
	m := d.machine
	if m.state == hypervisor.StateRunning {
		return errors.New("it is running already")
	}
	words := Greeting
	if from := spec.Resume.State; from != "" {
		if state, err := os.ReadFile(from); err != nil || string(state) != savedState {
			return fmt.Errorf("going on from %s: %q is no state of a guest (%w)", from, state, err)
		}
		words = ""
	}
	if words != "" { // it counts on from what is on its disk
		m.count, _ = readCount(spec.Disk.Path) // most tests' disks hold no count
	}
	console, err := os.OpenFile(spec.Console, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("opening the console's file: %w", err)
	}
	_, err = console.WriteString(words + Beat)
	if err := errors.Join(err, console.Close()); err != nil {
		return fmt.Errorf("writing the console: %w", err)
	}
	return d.goOn()
}

// goOn is called with the driver's lock held.
func (d *domain) goOn() error {
	m := d.machine
	d.driver.started++
	m.state = hypervisor.StateRunning
	// A loopback address per start: nothing listens there unless a test wants it.
	m.address = fmt.Sprintf("127.0.%d.%d:22", 100+d.driver.started/250, 1+d.driver.started%250)
	return d.driver.record()
}

// What a fake guest writes to its serial port: at each boot, and then for as long as it lives. It beats once.
const (
	Greeting = "fake guest started\n"
	Beat     = "."
)

// savedState is what a fake guest's state consists of.
const savedState = "the state of a fake guest"

// Save turns the domain off and writes a file.
func (d *domain) Save(ctx context.Context, state string) (err error) {
	if err := d.begin(ctx, Save); err != nil {
		return err
	}
	name := d.machine.spec.Name
	if d.machine.state != hypervisor.StateRunning {
		defer d.driver.mu.Unlock()
		return fmt.Errorf("saving %s: it is %s", name, d.machine.state)
	}
	file, err := os.OpenFile(state, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		defer d.driver.mu.Unlock()
		return fmt.Errorf("saving %s: %w", name, err)
	}
	_, err = file.WriteString(savedState)
	off := d.machine.turnOff(hypervisor.StateOff)
	d.driver.mu.Unlock()
	d.driver.wentOff(d.machine, off)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("saving %s: %w", name, errors.Join(err, os.Remove(state)))
	}
	return nil
}

// State tells the state.
func (d *domain) State(ctx context.Context) (hypervisor.State, error) {
	if err := d.begin(ctx, State); err != nil {
		return hypervisor.StateInvalid, err
	}
	defer d.driver.mu.Unlock()
	return d.machine.state, nil
}

// Address returns a loopback address that belongs to this start of the domain.
func (d *domain) Address(ctx context.Context) (string, error) {
	if err := d.begin(ctx, Address); err != nil {
		return "", err
	}
	defer d.driver.mu.Unlock()
	if d.machine.state != hypervisor.StateRunning {
		return "", fmt.Errorf("asking for the address of %s: it is %s", d.machine.spec.Name, d.machine.state)
	}
	return d.machine.address, nil
}

// Destroy turns the domain off.
func (d *domain) Destroy(ctx context.Context) error {
	err := d.begin(ctx, Destroy)
	if errors.Is(err, hypervisor.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	off := d.machine.turnOff(hypervisor.StateOff)
	d.driver.mu.Unlock()
	d.driver.wentOff(d.machine, off)
	return nil
}

// CutPower turns the domain off as a kill does.
func (d *domain) CutPower(ctx context.Context) error {
	if err := d.begin(ctx, CutPower); err != nil {
		return err
	}
	m := d.machine
	if m.state != hypervisor.StateRunning {
		defer d.driver.mu.Unlock()
		return fmt.Errorf("cutting the power of %s: it is %s", m.spec.Name, m.state)
	}
	off := m.turnOff(hypervisor.StateCrashed)
	d.driver.mu.Unlock()
	d.driver.wentOff(m, off)
	if d.driver.OnCut != nil {
		d.driver.OnCut(m.spec)
	}
	return nil
}

// Undefine turns the domain off and forgets it, and removes its files.
func (d *domain) Undefine(ctx context.Context) error {
	err := d.begin(ctx, Undefine)
	if errors.Is(err, hypervisor.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	off := d.machine.turnOff(hypervisor.StateOff)
	err = d.machine.removeFiles()
	if err == nil {
		delete(d.driver.machines, d.machine.spec.Name)
		err = d.driver.record()
	}
	d.driver.mu.Unlock()
	d.driver.wentOff(d.machine, off)
	return err
}

// Screenshot shows a black dot.
func (d *domain) Screenshot(ctx context.Context) ([]byte, error) {
	if err := d.begin(ctx, Screenshot); err != nil {
		return nil, err
	}
	defer d.driver.mu.Unlock()
	if d.machine.state != hypervisor.StateRunning {
		return nil, fmt.Errorf("taking a picture of %s: it is %s", d.machine.spec.Name, d.machine.state)
	}
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		return nil, fmt.Errorf("drawing the screen: %w", err)
	}
	return picture.Bytes(), nil
}

// ScreenText shows the driver's Screen.
func (d *domain) ScreenText(ctx context.Context) ([]byte, error) {
	if err := d.begin(ctx, ScreenText); err != nil {
		return nil, err
	}
	spec, state := d.machine.spec, d.machine.state
	d.driver.mu.Unlock()
	if state != hypervisor.StateRunning {
		return nil, fmt.Errorf("reading the screen of %s: it is %s", spec.Name, state)
	}
	if d.driver.OnScreen != nil {
		return []byte(d.driver.OnScreen(spec)), nil
	}
	return []byte(d.driver.Screen), nil
}

// DialChannel lets the driver's OnChannel answer.
func (d *domain) DialChannel(ctx context.Context) (net.Conn, error) {
	if err := d.begin(ctx, Channel); err != nil {
		return nil, err
	}
	spec, state := d.machine.spec, d.machine.state
	d.driver.mu.Unlock()
	if state != hypervisor.StateRunning {
		return nil, fmt.Errorf("reaching the port of %s: it is %s", spec.Name, state)
	}
	if d.driver.OnChannel != nil {
		return d.driver.OnChannel(spec)
	}
	here, there := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, there) }() // a guest at whose end nobody listens
	return here, nil
}

// CallAgent lets the driver's OnAgent answer.
func (d *domain) CallAgent(ctx context.Context, command []byte) ([]byte, error) {
	if err := d.begin(ctx, CallAgent); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", hypervisor.ErrNoAgent, err)
		}
		return nil, err
	}
	name, state := d.machine.spec.Name, d.machine.state
	d.driver.mu.Unlock()
	if state != hypervisor.StateRunning {
		return nil, fmt.Errorf("asking the guest agent of %s: it is %s", name, state)
	}
	if d.driver.OnAgent == nil {
		return nil, fmt.Errorf("asking the guest agent of %s: %w", name, hypervisor.ErrNoAgent)
	}
	return d.driver.OnAgent(ctx, d.machine.spec, command)
}

// Press tells the driver's OnPress.
func (d *domain) Press(ctx context.Context, keys ...hypervisor.Key) error {
	if err := d.begin(ctx, Press); err != nil {
		return err
	}
	spec, state := d.machine.spec, d.machine.state
	d.driver.mu.Unlock()
	if state != hypervisor.StateRunning {
		return fmt.Errorf("pressing keys of %s: it is %s", spec.Name, state)
	}
	if d.driver.OnPress != nil {
		d.driver.OnPress(spec, keys)
	}
	return nil
}

// Disk returns the disk of the spec: a fake's checkpoints leave nothing above it.
func (d *domain) Disk(ctx context.Context) (string, error) {
	if err := d.begin(ctx, Disk); err != nil {
		return "", err
	}
	defer d.driver.mu.Unlock()
	return d.machine.spec.Disk.Path, nil
}
