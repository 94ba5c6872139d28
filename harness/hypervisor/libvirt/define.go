package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// Define makes the domain, its console and, above a backing image, its overlay.
func (d *Driver) Define(ctx context.Context, spec hypervisor.DomainSpec) (hypervisor.Domain, error) {
	if err := check(spec); err != nil {
		return nil, fmt.Errorf("defining domain %q: %w", spec.Name, err)
	}
	text, err := domainXML(spec)
	if err != nil {
		return nil, err
	}
	if err := d.checkReach(spec); err != nil {
		return nil, fmt.Errorf("defining domain %s: %w", spec.Name, err)
	}
	if err := d.checkFree(ctx, spec.Name); err != nil {
		return nil, err
	}
	made, err := d.makeFiles(ctx, spec)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("defining domain %s: %w", spec.Name, err), made.remove())
	}
	handle, err := d.define(ctx, spec, text, made)
	if err != nil {
		return nil, err
	}
	return &domain{driver: d, handle: handle, overlay: newMetadata(spec).Overlay}, nil
}

// checkFree fails early for a name that is taken, before any file is touched: they may be the other domain's files.
func (d *Driver) checkFree(ctx context.Context, name string) error {
	_, err := call(ctx, d, "defining domain "+name, func(l *golibvirt.Libvirt) (golibvirt.Domain, error) {
		return l.DomainLookupByName(name)
	})
	switch {
	case errors.Is(err, hypervisor.ErrNotFound):
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("defining domain %s: %w", name, hypervisor.ErrExists)
	}
}

// defineDeadline bounds a define that nobody waits for any more. Under a libvirt that probes a bad KVM it takes 80 s.
const defineDeadline = 3 * time.Minute

// define gives the domain to libvirt. libvirt goes on with a call whose caller has gone: so when ctx ends first, the
// call is waited for in the background, and then undone.
func (d *Driver) define(ctx context.Context, spec hypervisor.DomainSpec, text string, made files) (golibvirt.Domain, error) {
	type outcome struct {
		handle golibvirt.Domain
		err    error
	}
	done := make(chan outcome, 1)
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), defineDeadline)
	go func() {
		handle, err := call(lasting, d, "defining domain "+spec.Name, func(l *golibvirt.Libvirt) (golibvirt.Domain, error) {
			return l.DomainDefineXMLFlags(text, golibvirt.DomainDefineValidate)
		})
		if isTaken(err) {
			err = fmt.Errorf("%w: %w", hypervisor.ErrExists, err)
		}
		done <- outcome{handle, err}
	}()

	select {
	case result := <-done:
		cancel()
		if result.err != nil {
			return golibvirt.Domain{}, errors.Join(result.err, made.remove())
		}
		return result.handle, nil
	case <-ctx.Done():
		d.cleanups.Go(func() {
			defer cancel()
			result := <-done
			if result.err == nil {
				_ = d.undefine(lasting, result.handle) // what stays is found by its metadata later
			}
			_ = made.remove() // the caller has gone, with the context's error
		})
		return golibvirt.Domain{}, fmt.Errorf("defining domain %s: %w", spec.Name, context.Cause(ctx))
	}
}

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

// makeFiles makes the console and the overlay. It returns what it has made also when it fails.
func (d *Driver) makeFiles(ctx context.Context, spec hypervisor.DomainSpec) (files, error) {
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
	if err := d.handOver(spec.Console); err != nil {
		return made, err
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
	return made, d.handOver(spec.Disk.Path)
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
func (d *Driver) handOver(path string) error {
	if d.owner == nil {
		return nil
	}
	if err := os.Chown(path, d.owner.UID, d.owner.GID); err != nil {
		return fmt.Errorf("handing %s to the user %s, as whom QEMU runs: %w", path, d.owner.Name, err)
	}
	return nil
}
