package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/keptguest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/sshclient"
)

// machineOptions are the flags of commands that read a live machine.
type machineOptions struct {
	noSudo  bool
	files   string
	timeout time.Duration
}

func (o *machineOptions) flags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.noSudo, "no-sudo", false, "read a live machine as the user who logs in, without what only root may see")
	flags.StringVar(&o.files, "files", string(probe.LookEtc),
		"files of a live machine to read: etc, or system for all but data, which takes as long as its disk needs")
	flags.DurationVar(&o.timeout, "timeout", 2*time.Minute, "patience with a live machine")
}

// systemPatience is the least for all files of a machine's system: 100 GB of programs from an old disk.
const systemPatience = 30 * time.Minute

// isMachine tells USER@HOST from the name of a run or of a file.
func isMachine(name string) bool {
	return strings.ContainsRune(name, '@') && !strings.ContainsRune(name, filepath.Separator) && filepath.Ext(name) != ".json"
}

// liveMachine reads a machine of the user's over ssh, and changes nothing there.
func (e *environment) liveMachine(ctx context.Context, name string, options machineOptions) (read snapshot, err error) {
	if options.files != string(probe.LookEtc) && options.files != string(probe.LookSystem) {
		return snapshot{}, usage(fmt.Errorf("--files: unknown %q (have etc, system)", options.files))
	}
	target, err := sshclient.ParseTarget(name)
	if err != nil {
		return snapshot{}, usage(err)
	}
	config, err := sshclient.UserConfig(e.Getenv)
	if err != nil {
		return snapshot{}, err
	}
	if options.files == string(probe.LookSystem) {
		options.timeout = max(options.timeout, systemPatience)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, options.timeout,
		fmt.Errorf("%s did not answer within %s (--timeout)", name, options.timeout))
	defer cancel()
	client, err := config.Dial(ctx, target)
	if err != nil {
		return snapshot{}, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	e.progress(fmt.Sprintf("reading %s with a temporary program that is removed again", client.Settings.String()))
	if options.files == string(probe.LookSystem) {
		e.progress("reading all files of its system: as long as its disk needs for what is installed, while nobody else wants it")
	}
	doc, err := probe.Look(ctx, client, options.noSudo, probe.LookFiles(options.files))
	if err != nil {
		if errors.Is(err, probe.ErrSudo) {
			err = fmt.Errorf("%w: log in as root, allow it in sudoers, or use --no-sudo for what every user may see", err)
		}
		return snapshot{}, fmt.Errorf("%s: %w", name, err)
	}
	return taken(name, "", doc), nil
}

// progress says what takes a while, unless nobody wants to know.
func (e *environment) progress(text string) {
	if !e.Quiet {
		e.notice(text)
	}
}

func taken(source, phase string, doc probe.Document) snapshot {
	return snapshot{
		Source: source, Phase: phase, TakenAt: &doc.TakenAt, BootID: doc.BootID, Facts: doc.Facts, Notes: doc.Notes,
	}
}

// keptNow reads the guest that a run has kept, as it is now.
func (e *environment) keptNow(ctx context.Context, dir string) (read snapshot, err error) {
	conn, err := e.reachKept(ctx, dir)
	if err != nil {
		return snapshot{}, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := probe.Install(ctx, conn); err != nil {
		return snapshot{}, err
	}
	known := harness.KeptFiles(dir)
	if known.Len() == 0 {
		e.progress("reading every file of the guest, of which this takes a minute under emulation")
	}
	record, err := rundir.ReadKept(dir)
	if err != nil {
		return snapshot{}, err
	}
	reading, err := probe.Facts(ctx, conn, conn, known)
	if err != nil {
		return snapshot{}, err
	}
	reading.Facts = harness.WithoutOwnKey(reading.Facts, record.AuthorizedKey)
	read = taken(filepath.Base(dir), phaseNow, reading.Document)
	read.dir = dir
	return read, nil
}

// keptPatience is for a kept guest that is slow, or that somebody is rebooting.
const keptPatience = 2 * time.Minute

// reachKept connects to the guest that a run has kept.
func (e *environment) reachKept(ctx context.Context, dir string) (guest.Conn, error) {
	if !isKept(dir) {
		return nil, usage(errors.New(notKept(dir)))
	}
	config, err := keptguest.Config(dir)
	if err != nil {
		return nil, err
	}
	if machine, other := libvirt.Reaches(e.Connect); other {
		return e.reachKeptOn(ctx, machine, dir, config)
	}
	// QEMU listens as long as the guest's domain lives, also while the guest boots.
	probing, err := new(net.Dialer).DialContext(ctx, "tcp", config.Address)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("the guest that run %s has kept is gone: nothing listens at %s any more, because it was ended or this "+
			"host was restarted; `patchlab gc --kept` clears up what is left of it", filepath.Base(dir), config.Address)
	}
	if err != nil {
		return nil, fmt.Errorf("reaching the guest that run %s has kept: %w", filepath.Base(dir), err)
	}
	_ = probing.Close() // it was only a question
	return awaitKept(ctx, dir, config)
}

func awaitKept(ctx context.Context, dir string, config sshguest.Config) (guest.Conn, error) {
	config.BannerWait = keptPatience // it has booted: another attempt would only ask more of a guest that is busy
	ctx, cancel := context.WithTimeoutCause(ctx, keptPatience, fmt.Errorf("the guest does not answer within %s", keptPatience))
	defer cancel()
	conn, err := guest.Await(ctx, sshguest.New(config), time.Second)
	if err != nil {
		return nil, fmt.Errorf("reaching the guest that run %s has kept: %w", filepath.Base(dir), err)
	}
	return conn, nil
}

// notKept says why there is no guest to reach.
func notKept(dir string) string {
	return fmt.Sprintf("run %s has kept no guest: keep one with `patchlab run --keep`", filepath.Base(dir))
}

// tunnelled is a connection to a guest on another machine. The way there is given up with it.
type tunnelled struct {
	*sshguest.Conn
	way *libvirt.Driver
}

func (t tunnelled) Close() error { return errors.Join(t.Conn.Close(), t.way.Close()) }

// reachKeptOn reaches a guest on another machine. The port that the run had for it ended with the run, so that its libvirt is
// asked anew.
func (e *environment) reachKeptOn(ctx context.Context, machine, dir string, config sshguest.Config) (_ guest.Conn, err error) {
	act := fmt.Sprintf("reaching the guest that run %s has kept on %s", filepath.Base(dir), machine)
	driver, err := libvirt.Connect(ctx, libvirt.Options{URI: e.Connect})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, driver.Close())
		}
	}()
	all, err := driver.Domains(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	i := slices.IndexFunc(all, func(o hypervisor.Owned) bool { return o.RunDir == dir && o.State == hypervisor.StateRunning })
	if i < 0 {
		return nil, fmt.Errorf("%s: no domain of it runs there; `patchlab gc --kept` clears up what is left of it", act)
	}
	domain, err := driver.Lookup(ctx, all[i].Name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	if config.Address, err = domain.Address(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	conn, err := awaitKept(ctx, dir, config)
	if err != nil {
		return nil, err
	}
	direct, ok := conn.(*sshguest.Conn)
	if !ok {
		return nil, fmt.Errorf("%s: an unknown kind of connection", act)
	}
	return tunnelled{direct, driver}, nil
}
