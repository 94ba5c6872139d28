package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/ovmf"
	"github.com/patchlab/patchlab/harness/hypervisor/remote"
)

// distant is a machine at the other end of an ssh connection. Below its root are
//
//	images/DIGEST.qcow2   what is read only, uploaded once; may be deleted when no domain is there
//	domains/NAME/         one domain's overlay, console, variables and seed; gone with the domain
//
// On this host, the file that a spec calls the overlay says where the disk really is; the console is copied as it grows.
type distant struct {
	host  *remote.Host
	root  string
	store *store

	mu       sync.Mutex
	guests   map[string]*guest
	finished bool
}

var _ place = (*distant)(nil)

func newDistant(host *remote.Host, root string, tell func(string)) *distant {
	return &distant{
		host: host, root: root, guests: map[string]*guest{},
		store: &store{host: host, dir: path.Join(root, "images"), tell: tell, digests: map[identity]string{}},
	}
}

// checkReach leaves it to QEMU: what is there is put where it can be reached.
func (d *distant) checkReach(hypervisor.DomainSpec) error { return nil }

// takeBack bounds the undoing of a define whose caller may have gone.
const takeBack = time.Minute

func (d *distant) furnish(ctx context.Context, spec hypervisor.DomainSpec) (furnished, error) {
	if spec.Memory != "" || spec.Resume.State != "" {
		return furnished{}, fmt.Errorf("%w: QEMU is on %s", hypervisor.ErrCannotSave, d.host.Name())
	}
	mark := newMetadata(spec)
	mark.Client, mark.Console, mark.Home = clientName(), spec.Console, path.Join(d.root, "domains", spec.Name)
	var made files // on this host
	undo := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBack)
		defer cancel()
		return errors.Join(d.removeHome(ctx, mark), made.remove())
	}
	if err := d.makeHere(spec, &mark, &made); err != nil {
		return furnished{}, errors.Join(err, made.remove())
	}
	client, err := d.host.Files(ctx)
	if err != nil {
		return furnished{}, errors.Join(err, made.remove())
	}
	// Not the parents: somebody may have taken them away to end all this.
	if err := client.Mkdir(mark.Home); err != nil {
		return furnished{}, errors.Join(fmt.Errorf("making %s on %s: %w", mark.Home, d.host.Name(), err), made.remove())
	}
	firmware, err := findFirmware(spec, sizeBy(client.Stat))
	if err != nil {
		return furnished{}, errors.Join(fmt.Errorf("on %s: %w", d.host.Name(), err), undo(ctx))
	}
	placed, err := d.makeThere(ctx, spec, mark, firmware)
	if err != nil {
		return furnished{}, errors.Join(err, undo(ctx))
	}
	return furnished{spec: placed, firmware: firmware.Code, mark: mark, undo: undo}, nil
}

// makeHere makes what a spec promises on this host.
func (d *distant) makeHere(spec hypervisor.DomainSpec, mark *metadata, made *files) error {
	for what, name := range map[string]string{
		"backing image": spec.Disk.Backing, "kernel": spec.Kernel, "initrd": spec.Initrd, "seed": spec.Seed, "EFI variables": spec.Variables.From,
	} {
		if name == "" {
			continue
		}
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("looking for the %s: %w", what, err)
		}
	}
	console, err := os.OpenFile(spec.Console, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist): // it goes on where an earlier domain stopped
		info, err := os.Stat(spec.Console)
		if err != nil {
			return fmt.Errorf("looking at the console's file: %w", err)
		}
		mark.ConsoleBase = info.Size()
	case err != nil:
		return fmt.Errorf("creating the console's file: %w", err)
	default:
		*made = append(*made, spec.Console)
		if err := console.Close(); err != nil {
			return fmt.Errorf("creating the console's file: %w", err)
		}
	}
	if spec.Disk.Backing == "" {
		if _, err := os.Stat(spec.Disk.Path); err != nil {
			return fmt.Errorf("looking for the disk: %w", err)
		}
		mark.Disk = spec.Disk.Path
	}
	for _, name := range []string{mark.Overlay, spec.Variables.Path} {
		if name == "" {
			continue
		}
		if err := d.signpost(name, mark.Home); err != nil {
			return err
		}
		*made = append(*made, name)
	}
	return nil
}

// signpost makes a file that says where the real one is.
func (d *distant) signpost(name, home string) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	_, err = fmt.Fprintf(file, "This file is %s on %s.\n", path.Join(home, filepath.Base(name)), d.host.Name())
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	return nil
}

// consoleFile is the console's name in a domain's directory there.
const consoleFile = "console.log"

// makeThere uploads and makes what QEMU needs, and returns the spec with QEMU's paths.
func (d *distant) makeThere(ctx context.Context, spec hypervisor.DomainSpec, mark metadata, firmware ovmf.Firmware) (hypervisor.DomainSpec, error) {
	placed := spec
	placed.Console = path.Join(mark.Home, consoleFile)
	placed.Disk.Path = path.Join(mark.Home, filepath.Base(spec.Disk.Path))
	for _, shared := range []*string{&placed.Disk.Backing, &placed.Kernel, &placed.Initrd} {
		if *shared == "" {
			continue
		}
		var err error
		if *shared, err = d.store.put(ctx, *shared); err != nil {
			return placed, err
		}
	}
	own := map[string]string{} // there, from here
	if spec.Disk.Backing == "" {
		own[placed.Disk.Path] = spec.Disk.Path
	}
	if spec.Seed != "" {
		placed.Seed = path.Join(mark.Home, filepath.Base(spec.Seed))
		own[placed.Seed] = spec.Seed
	}
	if spec.Variables.Path != "" {
		placed.Variables.Path = path.Join(mark.Home, filepath.Base(spec.Variables.Path))
		if spec.Variables.From != "" {
			own[placed.Variables.Path] = spec.Variables.From
		}
	}
	for there, here := range own {
		if err := d.store.copy(ctx, here, there); err != nil {
			return placed, err
		}
	}
	// Others may pass and read: QEMU may run as one of them. The disk is handed to it by libvirt.
	script := []string{
		"set -e", "umask 022", "chmod 711 " + remote.Quote(mark.Home), ": >" + remote.Quote(placed.Console),
	}
	if spec.Disk.Backing != "" {
		script = append(script, "umask 077", fmt.Sprintf("qemu-img create -q -f qcow2 -F qcow2 -b %s %s",
			remote.Quote(placed.Disk.Backing), remote.Quote(placed.Disk.Path)))
	}
	if spec.Variables.Path != "" && spec.Variables.From == "" {
		script = append(script, "umask 077", fmt.Sprintf("cat %s >%s",
			remote.Quote(firmware.Variables), remote.Quote(placed.Variables.Path)))
	}
	if _, err := d.host.Shell(ctx, strings.Join(script, "\n")); err != nil {
		return placed, fmt.Errorf("creating the domain's files: %w", err)
	}
	return placed, nil
}

// clear brings the last evidence here, and removes the rest there.
func (d *distant) clear(ctx context.Context, name string, mark metadata) error {
	if err := d.leave(ctx, name, mark); err != nil {
		return err
	}
	if mark.Disk != "" {
		if err := d.store.fetch(ctx, path.Join(mark.Home, filepath.Base(mark.Disk)), mark.Disk); err != nil {
			return err
		}
	}
	if err := d.removeHome(ctx, mark); err != nil {
		return err
	}
	return mark.files().remove() // the signposts
}

func (d *distant) removeHome(ctx context.Context, mark metadata) error {
	// The path comes from a domain's metadata: only what lies where we put it is removed.
	if path.Dir(path.Clean(mark.Home)) != path.Join(d.root, "domains") {
		return fmt.Errorf("removing the files of a domain: %q is not below %s", mark.Home, d.root)
	}
	if _, err := d.host.Shell(ctx, "rm -rf -- "+remote.Quote(mark.Home)); err != nil {
		return fmt.Errorf("removing the files of a domain: %w", err)
	}
	return nil
}

// guestOf returns what is kept about a running guest.
func (d *distant) guestOf(name string) *guest {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.guests[name] == nil && !d.finished {
		d.guests[name] = &guest{host: d.host}
	}
	return d.guests[name]
}

func (d *distant) attend(name string, mark metadata) {
	if g := d.guestOf(name); g != nil {
		g.follow(mark)
	}
}

func (d *distant) leave(ctx context.Context, name string, mark metadata) error {
	d.mu.Lock()
	g := d.guests[name]
	delete(d.guests, name)
	d.mu.Unlock()
	if g != nil {
		g.end()
	}
	last := tail{host: d.host, mark: mark}
	return last.catchUp(ctx)
}

func (d *distant) reach(ctx context.Context, name, address string) (string, error) {
	g := d.guestOf(name)
	if g == nil {
		return "", errors.New("reaching the guest: the driver is closed")
	}
	return g.forward(ctx, address)
}

func (d *distant) describe() []string {
	return []string{fmt.Sprintf("images and overlays are put into %s on %s", d.root, d.host.Name())}
}

func (d *distant) close() {
	d.mu.Lock()
	guests := d.guests
	d.guests, d.finished = nil, true
	d.mu.Unlock()
	for _, g := range guests {
		g.end()
	}
	_ = d.host.Close() // nothing is under way any more
}

// clientName tells hosts apart that use the same libvirt: none takes away what another one runs.
func clientName() string {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return name
	}
	return name + "-" + strings.TrimSpace(string(id))
}
