package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/secret"
	"github.com/patchlab/patchlab/harness/timing"
)

// The files by which a person works, in the directory of the run that they do again. Those that are no evidence are removed with
// the domain, or by gc: their names are among those that it looks for.
const (
	handOverlay   = "by-hand" + rundir.DiskExt
	handVariables = "by-hand" + rundir.VariablesExt
	handConsole   = "by-hand-" + rundir.Console
	handXML       = "by-hand.xml"
	handConfig    = "by-hand.ssh_config"
	handHosts     = "by-hand.known_hosts"
	handLog       = "by-hand.log"
)

// Hand is a person with virsh, ssh and scp.
type Hand struct {
	Programs  Programs
	Domain    Domain
	Login     Login
	Candidate Candidate
	Scenario  string          // under which those who watch know the run
	Dir       string          // of the run that is done again, whose lock the caller holds
	Bounds    timing.Timeouts // scaled
	Sink      progress.Sink
	Now       func() time.Time
	// Every is how often a guest that boots is tried; default 500 ms, as patchlab does.
	Every time.Duration
}

// Domain is the machine to be made: the same as patchlab's, as text.
type Domain struct {
	Spec     hypervisor.DomainSpec // its names and files; see [HandSpec]
	URI, XML string
	// UID and GID are whom the disk, the console and the variables must belong to; -1 leaves them.
	UID, GID int
}

// Login is how the guest is reached.
type Login struct {
	PrivateKey []byte // PEM
	HostKey    string // TYPE BASE64
}

// HandSpec turns the spec of a run's clone into that of the domain that is made by hand beside its evidence.
func HandSpec(spec hypervisor.DomainSpec, dir string) hypervisor.DomainSpec {
	spec.Name = "patchlab-" + filepath.Base(dir) + "-by-hand"
	spec.RunID, spec.RunDir = filepath.Base(dir), dir
	spec.Disk.Path, spec.Console = filepath.Join(dir, handOverlay), filepath.Join(dir, handConsole)
	if spec.Firmware == hypervisor.EFI {
		spec.Variables.Path = filepath.Join(dir, handVariables)
	}
	return spec
}

// PackagesDir is where the packages are kept meanwhile, see [NewCandidate].
func PackagesDir(dir string) string { return filepath.Join(dir, rundir.HandPackages) }

// Do does it all and says how long each step took. Whatever happens, everything is taken away again; the console, the domain's XML
// and the log of every call stay as evidence.
func (h Hand) Do(ctx context.Context) (times []Time, err error) {
	log, err := os.OpenFile(filepath.Join(h.Dir, handLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if h.Every == 0 {
		h.Every = tryEvery
	}
	w := &work{Hand: h, shell: shell{log: log, now: h.Now}}
	defer func() { err = errors.Join(err, w.takeAway(ctx), w.tidy()) }() // virsh works also when ctx has ended
	if err := w.prepare(); err != nil {
		return nil, err
	}
	err = w.do(ctx)
	return w.times, err
}

// work is a [Hand] at work.
type work struct {
	Hand
	shell shell

	times            []Time
	defined, started bool
	bootID           string
}

func (w *work) file(name string) string { return filepath.Join(w.Dir, name) }

// prepare writes what a person has before they begin.
func (w *work) prepare() error {
	for _, file := range []struct {
		name    string
		content string
		mode    fs.FileMode
	}{
		{handXML, w.Domain.XML, 0o644},
		{handHosts, "guest " + w.Login.HostKey + "\n", 0o644},
		{rundir.Key, string(w.Login.PrivateKey), 0o600},
	} {
		if err := os.WriteFile(w.file(file.name), []byte(file.content), file.mode); err != nil {
			return fmt.Errorf("preparing the work by hand: %w", err)
		}
	}
	return nil
}

// do is the list of the steps.
func (w *work) do(ctx context.Context) error {
	if err := w.step(ctx, Define, "", w.define); err != nil {
		return err
	}
	if err := w.step(ctx, Boot, "", func(ctx context.Context) error { return w.await(ctx, w.Bounds.Boot) }); err != nil {
		return err
	}
	for _, inc := range w.Candidate.Increments {
		if err := w.increment(ctx, inc); err != nil {
			return err
		}
	}
	if err := w.check(ctx); err != nil {
		return err
	}
	for range w.Candidate.Reboots {
		if err := w.step(ctx, Reboot, "", w.reboot); err != nil {
			return err
		}
		if err := w.check(ctx); err != nil {
			return err
		}
	}
	return w.step(ctx, Teardown, "", w.takeAway)
}

// step times a step and tells those who watch.
func (w *work) step(ctx context.Context, name, increment string, do func(context.Context) error) error {
	title := strings.TrimSpace("by hand: " + name + " " + increment)
	began := w.Now()
	w.emit(progress.Start, title, "", 0)
	err := do(ctx)
	took := w.Now().Sub(began)
	if err != nil {
		w.emit(progress.Failed, title, err.Error(), took)
		return fmt.Errorf("%s: %w", title, err)
	}
	w.emit(progress.Done, title, "", took)
	w.times = append(w.times, Time{Step: name, Increment: increment, Seconds: took.Seconds()})
	return nil
}

func (w *work) emit(kind progress.Kind, step, text string, took time.Duration) {
	w.Sink.Emit(progress.Event{Kind: kind, Run: w.Scenario, Step: step, Text: text, At: w.Now(), Elapsed: took})
}

// define makes the disk and the domain, starts it and finds out where its port 22 is.
func (w *work) define(ctx context.Context) error {
	spec := w.Domain.Spec
	if _, err := w.shell.run(ctx, w.Programs.QEMUImg,
		"create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", spec.Disk.Backing, spec.Disk.Path); err != nil {
		return err
	}
	if err := w.furnish(); err != nil {
		return err
	}
	if _, err := w.virsh(ctx, "define", w.file(handXML)); err != nil {
		return err
	}
	w.defined = true
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, err := w.virsh(ctx, "start", spec.Name); err != nil {
		return err
	}
	w.started = true
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	table, err := w.virsh(ctx, "qemu-monitor-command", "--hmp", spec.Name, "info usernet")
	if err != nil {
		return err
	}
	return w.configure(table)
}

// furnish makes the files that QEMU writes, beside the disk, and gives all of them to its user.
func (w *work) furnish() error {
	spec := w.Domain.Spec
	files := []string{spec.Disk.Path, spec.Console}
	if err := os.WriteFile(spec.Console, nil, 0o644); err != nil {
		return fmt.Errorf("making the console's file: %w", err)
	}
	if spec.Firmware == hypervisor.EFI {
		content, err := os.ReadFile(spec.Variables.From)
		if err == nil {
			err = os.WriteFile(spec.Variables.Path, content, 0o600)
		}
		if err != nil {
			return fmt.Errorf("copying the EFI variables: %w", err)
		}
		files = append(files, spec.Variables.Path)
	}
	for _, file := range files {
		if err := os.Chown(file, w.Domain.UID, w.Domain.GID); err != nil {
			return fmt.Errorf("handing over to the user that QEMU runs as: %w", err)
		}
	}
	return nil
}

// virsh is not cut short when ctx ends: libvirt would go on with what it was asked for, and nobody would know. It has its own bound.
func (w *work) virsh(ctx context.Context, arguments ...string) (string, error) {
	const bound = 3 // a define beside a bad KVM takes longer than other calls
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound*w.Bounds.Driver)
	defer cancel()
	return w.shell.run(ctx, w.Programs.Virsh, append([]string{"-q", "-c", w.Domain.URI}, arguments...)...)
}

// configure writes ssh's configuration, with the port that QEMU says it forwards to the guest's port 22.
func (w *work) configure(usernet string) error {
	address, port := "", ""
	for text := range strings.Lines(usernet) {
		// TCP[HOST_FORWARD]  23  127.0.0.1 43117  10.0.2.15  22  0  0
		if f := strings.Fields(text); len(f) >= 6 && f[0] == "TCP[HOST_FORWARD]" && f[5] == "22" {
			address, port = f[2], f[3]
		}
	}
	if net.ParseIP(address) == nil {
		return fmt.Errorf("QEMU forwards no port to the guest's port 22: %q", usernet)
	}
	// ConnectTimeout bounds the wait for the banner, as patchlab does: QEMU's network accepts before the guest does.
	config := fmt.Sprintf(`Host guest
  HostName %s
  Port %s
  User root
  IdentityFile "%s"
  IdentitiesOnly yes
  IdentityAgent none
  HostKeyAlias guest
  UserKnownHostsFile "%s"
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
  LogLevel ERROR
`, address, port, w.file(rundir.Key), w.file(handHosts))
	if err := os.WriteFile(w.file(handConfig), []byte(config), 0o644); err != nil {
		return fmt.Errorf("writing ssh's configuration: %w", err)
	}
	return nil
}

// increment copies, installs and restarts.
func (w *work) increment(ctx context.Context, inc Increment) error {
	const place = "/var/tmp/"
	var there []string
	for _, file := range inc.Packages {
		there = append(there, place+filepath.Base(file))
	}
	if err := w.step(ctx, Copy, inc.Name, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, w.Bounds.Stage)
		defer cancel()
		arguments := append([]string{"-q", "-F", w.file(handConfig)}, inc.Packages...)
		_, err := w.shell.run(ctx, w.Programs.SCP, append(arguments, "guest:"+place)...)
		return err
	}); err != nil {
		return err
	}
	if err := w.step(ctx, Install, inc.Name, func(ctx context.Context) error {
		words := append([]string{"DEBIAN_FRONTEND=noninteractive", "dpkg"}, w.Candidate.Force...)
		return w.ssh(ctx, w.Bounds.Apply, strings.Join(append(append(words, "-i"), there...), " "))
	}); err != nil {
		return err
	}
	if len(inc.Restart) == 0 {
		return nil
	}
	return w.step(ctx, Restart, inc.Name, func(ctx context.Context) error {
		return w.ssh(ctx, w.Bounds.Command, restartLine(inc.Restart))
	})
}

// restartLine restarts units with as few calls as a person makes. systemd itself is re-executed.
func restartLine(units []string) string {
	const manager = "init.scope"
	var lines, names []string
	for _, unit := range units {
		if unit == manager {
			lines = append(lines, "systemctl daemon-reexec")
			continue
		}
		names = append(names, quote(unit))
	}
	if len(names) > 0 {
		lines = append(lines, "systemctl restart -- "+strings.Join(names, " "))
	}
	return strings.Join(lines, " && ")
}

func (w *work) check(ctx context.Context) error {
	if w.Candidate.Check == "" {
		return nil
	}
	return w.step(ctx, Check, "", func(ctx context.Context) error {
		return w.ssh(ctx, w.Bounds.Settle+w.Bounds.Command, w.Candidate.Check)
	})
}

// takeAway removes the domain and its disk. It does what is left to do, so that it may be called again.
func (w *work) takeAway(ctx context.Context) error {
	name := w.Domain.Spec.Name
	if w.started {
		if _, err := w.virsh(ctx, "destroy", name); err != nil && !strings.Contains(err.Error(), "is not running") {
			return fmt.Errorf("removing the domain (patchlab gc does it later): %w", err)
		}
		w.started = false
	}
	if w.defined {
		arguments := []string{"undefine", name}
		if w.Domain.Spec.Firmware == hypervisor.EFI {
			arguments = append(arguments, "--nvram")
		}
		if _, err := w.virsh(ctx, arguments...); err != nil {
			return fmt.Errorf("removing the domain (patchlab gc does it later): %w", err)
		}
		w.defined = false
	}
	return remove(w.Domain.Spec.Disk.Path, w.Domain.Spec.Variables.Path, w.Domain.Spec.Seed)
}

// tidy removes what else is no evidence. A domain that could not be removed may be reached with the key, until gc takes both.
func (w *work) tidy() error {
	if w.defined {
		return nil
	}
	failures := []error{os.RemoveAll(PackagesDir(w.Dir)), secret.NewHider().HideFile(w.file(handConsole))}
	return errors.Join(errors.Join(failures...), remove(w.file(rundir.Key), w.file(handConfig), w.file(handHosts)))
}

func remove(files ...string) error {
	var failures []error
	for _, file := range files {
		if file == "" {
			continue
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, fmt.Errorf("removing what was made by hand: %w", err))
		}
	}
	return errors.Join(failures...)
}
