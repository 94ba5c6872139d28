package libvirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// Define makes the domain, its console, its EFI variables and, above a backing image, its overlay.
func (d *Driver) Define(ctx context.Context, spec hypervisor.DomainSpec) (hypervisor.Domain, error) {
	if err := check(spec); err != nil {
		return nil, fmt.Errorf("defining domain %q: %w", spec.Name, err)
	}
	if err := d.place.checkReach(spec); err != nil {
		return nil, fmt.Errorf("defining domain %s: %w", spec.Name, err)
	}
	if err := d.checkFree(ctx, spec.Name); err != nil {
		return nil, err
	}
	made, err := d.place.furnish(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("defining domain %s: %w", spec.Name, err)
	}
	made.relabels = d.guard.owner != nil
	definition, err := describe(made)
	if err != nil {
		return nil, errors.Join(err, made.undo(ctx))
	}
	text, err := definition.Marshal()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rendering domain %s: %w", spec.Name, err), made.undo(ctx))
	}
	handle, err := d.define(ctx, spec.Name, text, made)
	if err != nil {
		return nil, d.guard.explain(err)
	}
	defined := &domain{driver: d, handle: handle, mark: made.mark}
	if spec.Resume.State != "" {
		definition.UUID = uuidText(handle.UUID)
		defined.resume = &resumption{definition: definition, memoryMiB: spec.MemoryMiB, saved: spec.Resume}
	}
	return defined, nil
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
func (d *Driver) define(ctx context.Context, name, text string, made furnished) (golibvirt.Domain, error) {
	type outcome struct {
		handle golibvirt.Domain
		err    error
	}
	done := make(chan outcome, 1)
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), defineDeadline)
	go func() {
		handle, err := call(lasting, d, "defining domain "+name, func(l *golibvirt.Libvirt) (golibvirt.Domain, error) {
			return l.DomainDefineXMLFlags(text, golibvirt.DomainDefineValidate)
		})
		if isTaken(err) {
			err = fmt.Errorf("%w: %w", hypervisor.ErrExists, err)
		}
		done <- outcome{handle, err}
	}()

	select {
	case result := <-done:
		defer cancel()
		if result.err != nil {
			return golibvirt.Domain{}, errors.Join(result.err, made.undo(lasting))
		}
		return result.handle, nil
	case <-ctx.Done():
		d.cleanups.Go(func() {
			defer cancel()
			result := <-done
			if result.err == nil {
				_ = d.undefine(lasting, result.handle) // what stays is found by its metadata later
			}
			_ = made.undo(lasting) // the caller has gone, with the context's error
		})
		return golibvirt.Domain{}, fmt.Errorf("defining domain %s: %w", name, context.Cause(ctx))
	}
}
