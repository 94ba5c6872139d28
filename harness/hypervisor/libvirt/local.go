package libvirt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/ovmf"
)

// local is the host that patchlab runs on: files are where the spec names them.
type local struct {
	owner *Owner // see [Options]
	// foreign is the user that QEMU runs as where libvirt hands files over by itself; nil where that is ourselves.
	foreign *Owner
}

var _ place = local{}

// furnish makes the console, the EFI variables and the overlay.
func (l local) furnish(ctx context.Context, spec hypervisor.DomainSpec) (furnished, error) {
	firmware, err := findFirmware(spec, sizeBy(os.Stat))
	if err != nil {
		return furnished{}, err
	}
	if spec.Firmware == hypervisor.EFI && spec.Variables.From == "" {
		spec.Variables.From = firmware.Variables
	}
	made, err := l.makeFiles(ctx, spec)
	if err != nil {
		return furnished{}, errors.Join(err, made.remove())
	}
	undo := func(context.Context) error { return made.remove() }
	return furnished{spec: spec, firmware: firmware.Code, mark: newMetadata(spec), undo: undo}, nil
}

// sizeBy asks for the sizes of files in the way that stat does.
func sizeBy(stat func(path string) (fs.FileInfo, error)) func(path string) (int64, error) {
	return func(path string) (int64, error) {
		info, err := stat(path)
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
}

// findFirmware returns the firmware to which the domain's variables belong, of the machine whose files size knows; none for a
// domain with a BIOS.
func findFirmware(spec hypervisor.DomainSpec, size func(path string) (int64, error)) (ovmf.Firmware, error) {
	if spec.Firmware != hypervisor.EFI {
		return ovmf.Firmware{}, nil
	}
	variables := int64(0)
	if spec.Variables.From != "" {
		info, err := os.Stat(spec.Variables.From)
		if err != nil {
			return ovmf.Firmware{}, fmt.Errorf("looking for the EFI variables: %w", err)
		}
		variables = info.Size()
	}
	return ovmf.FindOn(size, variables)
}

func (l local) clear(_ context.Context, name string, mark metadata) error {
	for _, path := range mark.files() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a disk of domain %s: %w", name, err)
		}
	}
	if mark.Checkpoints == "" {
		return nil
	}
	if err := os.RemoveAll(mark.Checkpoints); err != nil {
		return fmt.Errorf("removing the checkpoints of domain %s: %w", name, err)
	}
	return nil
}

func (local) attend(string, metadata) {}

func (local) leave(context.Context, string, metadata) error { return nil }

func (local) reach(_ context.Context, _, address string) (string, error) { return address, nil }

func (local) describe() []string { return nil }

func (local) close() {}

// files are those that a define has made so far.
type files []string

func (f files) remove() error {
	var failures []error
	for _, path := range f {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, fmt.Errorf("taking back a define: %w", err))
		}
	}
	return errors.Join(failures...)
}

// makeFiles makes the console, the variables and the overlay. It returns what it has made also when it fails.
func (l local) makeFiles(ctx context.Context, spec hypervisor.DomainSpec) (files, error) {
	var made files
	if spec.Seed != "" {
		if _, err := os.Stat(spec.Seed); err != nil {
			return made, fmt.Errorf("looking for the seed: %w", err)
		}
	}
	console, err := os.OpenFile(spec.Console, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist): // it goes on where an earlier domain stopped
	case err != nil:
		return made, fmt.Errorf("creating the console's file: %w", err)
	default:
		made = append(made, spec.Console)
		if err := console.Close(); err != nil {
			return made, fmt.Errorf("creating the console's file: %w", err)
		}
	}
	if err := l.handOver(spec.Console); err != nil {
		return made, err
	}

	if err := l.makeMemory(spec, &made); err != nil {
		return made, err
	}
	if spec.Variables.Path != "" {
		if err := l.makeVariables(spec.Variables, &made); err != nil {
			return made, err
		}
	}

	if spec.Disk.Backing == "" {
		if _, err := os.Stat(spec.Disk.Path); err != nil {
			return made, fmt.Errorf("looking for the disk: %w", err)
		}
		return made, nil
	}
	// qemu-img would overwrite a disk that is there, perhaps under a running guest.
	overlay, err := os.OpenFile(spec.Disk.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return made, fmt.Errorf("creating the overlay: %w", err)
	}
	made = append(made, spec.Disk.Path)
	if err := overlay.Close(); err != nil {
		return made, fmt.Errorf("creating the overlay: %w", err)
	}
	if err := createOverlay(ctx, spec.Disk); err != nil {
		return made, err
	}
	return made, l.handOver(spec.Disk.Path)
}

// makeMemory makes the file for the RAM, without content, and looks for that of a saved guest.
func (l local) makeMemory(spec hypervisor.DomainSpec, made *files) error {
	if (spec.Memory != "" || spec.Resume.State != "") && l.foreign != nil && os.Geteuid() != 0 {
		return fmt.Errorf("%w: QEMU runs as the user %s, to whom only root could hand files over", hypervisor.ErrCannotSave, l.foreign.Name)
	}
	for _, saved := range []string{spec.Resume.State, spec.Resume.Memory} {
		if saved == "" {
			continue
		}
		if _, err := os.Stat(saved); err != nil {
			return fmt.Errorf("looking for the saved guest: %w", err)
		}
	}
	if spec.Memory == "" {
		return nil
	}
	file, err := os.OpenFile(spec.Memory, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("making the memory's file: %w", err)
	}
	*made = append(*made, spec.Memory)
	if err := errors.Join(file.Truncate(int64(spec.MemoryMiB)<<20), file.Close()); err != nil {
		return fmt.Errorf("making the memory's file: %w", err)
	}
	return l.handOverUnlisted(spec.Memory)
}

// makeVariables copies the EFI variables: too small, with 528 KiB, for an overlay to be worth while.
func (l local) makeVariables(variables hypervisor.Variables, made *files) (err error) {
	from, err := os.Open(variables.From)
	if err != nil {
		return fmt.Errorf("copying the EFI variables: %w", err)
	}
	defer func() { _ = from.Close() }() // it was only read
	to, err := os.OpenFile(variables.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copying the EFI variables: %w", err)
	}
	*made = append(*made, variables.Path)
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return fmt.Errorf("copying the EFI variables: %w", err)
	}
	return l.handOver(variables.Path)
}

func createOverlay(ctx context.Context, disk hypervisor.Disk) error {
	var output bytes.Buffer
	command := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", disk.Backing, disk.Path)
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("creating an overlay on %s: %w", disk.Backing, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("creating an overlay on %s: %w: %s", disk.Backing, err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// handOver gives a file to the user that QEMU runs as.
func (l local) handOver(path string) error {
	return handTo(path, l.owner)
}

// handOverUnlisted does so for what libvirt knows nothing of, and therefore never hands over.
func (l local) handOverUnlisted(path string) error { return handTo(path, cmp.Or(l.owner, l.foreign)) }

func handTo(path string, owner *Owner) error {
	if owner == nil {
		return nil
	}
	if err := os.Chown(path, owner.UID, owner.GID); err != nil {
		return fmt.Errorf("handing %s to the user %s, as whom QEMU runs: %w", path, owner.Name, err)
	}
	return nil
}
