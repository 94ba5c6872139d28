package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/accel"
	"github.com/patchlab/patchlab/harness/gc"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/agentguest"
	"github.com/patchlab/patchlab/harness/helper"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/hypervisor/private"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/probe/embedded"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/harness/undo"
)

// openHost measures the accelerator and connects to the hypervisor that the user chose, or to the private one. What
// notes it has for the user goes to note.
func (e *environment) openHost(ctx context.Context, note func(string)) (harness.Host, error) {
	if e.Connect == "" {
		return e.openPrivate(ctx, note)
	}
	driver, err := libvirt.Connect(ctx, libvirt.Options{URI: e.Connect, Tell: note})
	if err != nil {
		return harness.Host{}, err
	}
	measured, err := measureFor(ctx, driver, accel.Options{CacheDir: e.Dirs.Cache})
	if err != nil {
		return harness.Host{}, errors.Join(err, driver.Close())
	}
	return e.hostOf(driver, measured), nil
}

func (e *environment) hostOf(driver hypervisor.Driver, measured accel.Report) harness.Host {
	return harness.Host{Driver: driver, Accelerator: measured, Undo: func(ctx context.Context) (undo.Report, error) {
		return undo.Prove(ctx, e.proof(driver, measured))
	}}
}

// proof is how it is proven that a revert undoes what came after its checkpoint.
func (e *environment) proof(driver hypervisor.Driver, measured accel.Report) undo.Options {
	return undo.Options{
		Driver: driver, Accelerator: measured.Best, Where: e.Connect, Runs: e.Dirs.Runs, CacheDir: e.Dirs.Cache, Now: time.Now,
	}
}

// measureFor measures on the machine that runs QEMU, and asks its libvirt whether it offers what was found.
func measureFor(ctx context.Context, driver *libvirt.Driver, opts accel.Options) (accel.Report, error) {
	opts.Shell = driver.Shell()
	measured, err := accel.Measure(ctx, opts)
	if err != nil || measured.Best != hypervisor.KVM {
		return measured, err
	}
	has, err := driver.HasKVM(ctx)
	if err == nil && !has {
		measured = measured.WithoutKVM("KVM works, but this libvirt offers none")
	}
	return measured, err
}

// openPrivate starts patchlab's own libvirt, unless it runs.
func (e *environment) openPrivate(ctx context.Context, note func(string)) (harness.Host, error) {
	measured, err := accel.Measure(ctx, accel.Options{CacheDir: e.Dirs.Cache})
	if err != nil {
		return harness.Host{}, err
	}
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
	driver, err := libvirt.Connect(ctx, libvirt.Options{URI: instance.URI, Owner: instance.Owner})
	if err != nil {
		return harness.Host{}, err
	}
	return e.hostOf(driver, measured), nil
}

// sharedHost opens the host once, for several runs, and closes it once. One whose libvirt has died meanwhile is opened anew:
// what befell one run is no reason for the next to fail.
func (e *environment) sharedHost(note func(string)) (open func(context.Context) (harness.Host, error), closing func() error) {
	shared := sharedHost{open: func(ctx context.Context) (harness.Host, error) {
		opened, err := e.openHost(ctx, note)
		if err == nil {
			e.sweep(ctx, opened.Driver, note)
		}
		return opened, err
	}, note: note}
	return shared.get, shared.close
}

// sharedHost is a host that is opened when it is first needed.
type sharedHost struct {
	open func(context.Context) (harness.Host, error)
	note func(string)

	lock sync.Mutex
	host *harness.Host
}

// signOfLife bounds the question whether a libvirt still answers.
const signOfLife = 20 * time.Second

func (s *sharedHost) get(ctx context.Context) (harness.Host, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.host != nil {
		asking, cancel := context.WithTimeout(ctx, signOfLife)
		defer cancel()
		_, err := s.host.Driver.Version(asking)
		if err == nil {
			return *s.host, nil
		}
		if ctx.Err() != nil {
			return harness.Host{}, err
		}
		s.note("reaching the hypervisor anew: " + err.Error())
		_ = s.host.Driver.Close() // it is dead
		s.host = nil
	}
	opened, err := s.open(ctx)
	if err != nil {
		return harness.Host{}, err
	}
	s.host = &opened
	return opened, nil
}

func (s *sharedHost) close() error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.host == nil {
		return nil
	}
	return s.host.Driver.Close()
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

// leftToHost is the memory in MiB that is never given to clones.
const leftToHost = 256

// memory is what the clones of this process may have together, asked once; nil where they run on another machine, whose memory
// nobody here knows, or where the host does not tell.
func (e *environment) memory() *harness.Memory {
	e.memoryOnce.Do(func() {
		if _, other := libvirt.Reaches(e.Connect); other {
			return
		}
		available, err := harness.AvailableMemory()
		if err != nil {
			e.notice("memory is not watched: " + err.Error())
			return
		}
		e.memoryOfClones = harness.NewMemory(available - leftToHost)
	})
	return e.memoryOfClones
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
		Memory: e.memory(),
		Host:   open,
		Image: func(ctx context.Context, name string) (image.Image, func() error, error) {
			opened, err := image.Open(ctx, store, name)
			if err != nil {
				return image.Image{}, nil, err
			}
			release, err := store.Hold(opened)
			return opened, release, err
		},
		NewAccess: newAccess,
		Agent: func(agent hypervisor.AgentCaller, log io.Writer) guest.Dialer {
			return agentguest.New(agentguest.Config{Agent: agent, CommandLog: log})
		},
		Mirror:    mirror.Find,
		Share:     accel.Share,
		DiskFiles: diskFiles,
		Kit:       kitOf,
		Suites:    suite.Runner{Program: self, Dir: scenarioDir},
		Timeouts:  timing.Default(),
		RunsDir:   e.Dirs.Runs,
		CacheDir:  e.Dirs.Cache,
		Now:       time.Now,
	}, nil
}

// diskFiles reads the files of an image on this host.
func diskFiles(ctx context.Context, of image.Image, scratch string) (files *probe.Files, err error) {
	err = onDisk(ctx, of, scratch, func(disk io.ReaderAt, size int64) error {
		files, err = probe.DiskFiles(ctx, disk, size, time.Now)
		return err
	})
	return files, err
}

// kitOf makes of an image what helper domains boot.
func kitOf(ctx context.Context, of image.Image, scratch string) (kit helper.Content, err error) {
	program, err := embedded.Probe()
	if err != nil {
		return kit, err
	}
	err = onDisk(ctx, of, scratch, func(disk io.ReaderAt, size int64) error {
		root, err := probe.FindRoot(disk, size)
		if err == nil {
			kit, err = helper.Make(root, program)
		}
		return err
	})
	return kit, err
}

// onDisk hands a raw copy of an image's disk to use.
func onDisk(ctx context.Context, of image.Image, scratch string, use func(disk io.ReaderAt, size int64) error) (err error) {
	size, err := of.Flatten(ctx, scratch)
	if err != nil {
		return err
	}
	disk, err := os.Open(scratch)
	if err != nil {
		return fmt.Errorf("reading the disk of %s: %w", of.Name, err)
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	return use(disk, size)
}
