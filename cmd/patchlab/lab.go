package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/accel"
	"github.com/patchlab/patchlab/harness/gc"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/hypervisor/private"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/harness/timing"
)

// openHost measures the accelerator and connects to the hypervisor that the user chose, or to the private one. What
// notes it has for the user goes to note.
func (e *environment) openHost(ctx context.Context, note func(string)) (harness.Host, error) {
	measured, err := accel.Measure(ctx, accel.Options{CacheDir: e.Dirs.Cache})
	if err != nil {
		return harness.Host{}, err
	}
	options := libvirt.Options{URI: e.Connect}
	if e.Connect == "" {
		self, err := os.Executable()
		if err != nil {
			return harness.Host{}, fmt.Errorf("finding patchlab's own program: %w", err)
		}
		instance, err := private.Ensure(ctx, private.Options{
			Dir: e.Dirs.Runtime, Self: []string{self, libvirtExec}, MaskKVM: measured.Best != hypervisor.KVM,
		})
		if err != nil {
			return harness.Host{}, err
		}
		for _, n := range instance.Notes {
			note(n)
		}
		if !instance.KVM {
			measured = measured.WithoutKVM("the user that QEMU runs as may not use KVM")
		}
		options = libvirt.Options{URI: instance.URI, Owner: instance.Owner}
	}
	driver, err := libvirt.Connect(ctx, options)
	if err != nil {
		return harness.Host{}, err
	}
	return harness.Host{Driver: driver, Accelerator: measured}, nil
}

// sharedHost opens the host once, for several runs, and closes it once.
func (e *environment) sharedHost(note func(string)) (open func(context.Context) (harness.Host, error), closing func() error) {
	var lock sync.Mutex
	var host *harness.Host
	open = func(ctx context.Context) (harness.Host, error) {
		lock.Lock()
		defer lock.Unlock()
		if host != nil {
			return *host, nil
		}
		opened, err := e.openHost(ctx, note)
		if err != nil {
			return harness.Host{}, err
		}
		e.sweep(ctx, opened.Driver, note)
		host = &opened
		return opened, nil
	}
	closing = func() error {
		lock.Lock()
		defer lock.Unlock()
		if host == nil {
			return nil
		}
		return host.Driver.Close()
	}
	return open, closing
}

// sweep takes away what killed runs left, before another one needs the room. That it cannot is no reason not to run.
func (e *environment) sweep(ctx context.Context, driver hypervisor.Driver, note func(string)) {
	swept, err := gc.Sweep(ctx, gc.Options{Drivers: []hypervisor.Driver{driver}, RunsDir: e.Dirs.Runs})
	if err != nil {
		note("clearing up after dead runs: " + err.Error())
	}
	if !swept.Empty() {
		note(fmt.Sprintf("removed what dead runs left: %d domains, %d files", len(swept.Domains), len(swept.Files)))
	}
}

// lab wires the parts that runs share. scenarioDir is where relative paths of compiled suites start.
func (e *environment) lab(open func(context.Context) (harness.Host, error), scenarioDir string) (harness.Lab, error) {
	self, err := os.Executable()
	if err != nil {
		return harness.Lab{}, fmt.Errorf("finding patchlab's own program: %w", err)
	}
	if err := e.Dirs.Make(); err != nil {
		return harness.Lab{}, err
	}
	store := &image.Store{Dir: e.Dirs.Images}
	return harness.Lab{
		Host: open,
		Image: func(ctx context.Context, name string) (image.Image, func() error, error) {
			opened, err := image.Open(ctx, store, name)
			if err != nil {
				return image.Image{}, nil, err
			}
			release, err := store.Hold(opened)
			return opened, release, err
		},
		NewAccess: newAccess,
		Mirror:    mirror.Find,
		Suites:    suite.Runner{Program: self, Dir: scenarioDir},
		Timeouts:  timing.Default(),
		RunsDir:   e.Dirs.Runs,
		CacheDir:  e.Dirs.Cache,
		Now:       time.Now,
	}, nil
}
