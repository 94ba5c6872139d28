package private

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/wait"
)

// Packages are what a Debian host needs for a private libvirt.
const Packages = "libvirt-daemon libvirt-daemon-driver-qemu qemu-system-x86 qemu-utils"

// findProgram also looks where administrators' programs are, which is not on an ordinary user's PATH.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: apt-get install %s", name, Packages)
}

// start starts libvirtd and waits until it answers.
func start(ctx context.Context, opts Options, home layout, account account) (state, error) {
	daemon, err := findProgram("libvirtd")
	if err != nil {
		return state{}, err
	}
	for _, needed := range []string{"qemu-system-x86_64", "qemu-img"} {
		if _, err := findProgram(needed); err != nil {
			return state{}, err
		}
	}
	if len(opts.Self) == 0 {
		return state{}, errors.New("nobody said how this program calls itself (Options.Self)")
	}
	if err := home.configure(); err != nil {
		return state{}, err
	}
	idle := max(opts.Idle, time.Second)
	if opts.Idle == 0 {
		idle = defaultIdle
	}
	base := plan{
		Drop: account.drop, UID: account.uid, GID: account.gid,
		// As a daemon it returns when it is ready or has failed, and is nobody's child.
		Argv: []string{daemon, "--daemon", "--timeout", strconv.Itoa(int(idle.Seconds()))},
	}
	groups, access, err := account.kvmAccess(kvmDevice)
	if err != nil {
		return state{}, err
	}
	if opts.MaskKVM && access { // what cannot be opened need not be hidden
		return startMasked(ctx, opts, home, base)
	}

	result := state{KVM: access}
	base.Groups = groups
	if !access && !opts.MaskKVM {
		result.Notes = []string{fmt.Sprintf("%s may not be used by the user whom QEMU runs as: guests are emulated", kvmDevice)}
	}
	return result, launch(ctx, opts.Self, home, base)
}

// startMasked hides KVM where the host lets us, and goes on without where not: define is slow then, nothing worse.
func startMasked(ctx context.Context, opts Options, home layout, base plan) (state, error) {
	if err := replace(home.mask(), "", 0); err != nil {
		return state{}, fmt.Errorf("making what hides %s: %w", kvmDevice, err)
	}
	masked := base
	masked.Mask = home.mask()
	refused := launch(ctx, opts.Self, home, masked)
	if refused == nil {
		return state{}, nil
	}
	if ctx.Err() != nil {
		return state{}, refused
	}
	if err := launch(ctx, opts.Self, home, base); err != nil {
		return state{}, err
	}
	return state{Notes: []string{fmt.Sprintf(
		"%s could not be hidden from libvirt, which may make it slow to define domains: %v", kvmDevice, refused)}}, nil
}

// readyPatience bounds the start of a libvirt, readyInterval is how often it is asked meanwhile.
const (
	readyPatience = time.Minute
	readyInterval = 50 * time.Millisecond
)

// launch carries out a plan and waits until libvirt answers.
func launch(ctx context.Context, self []string, home layout, p plan) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	// One that is just ending its idle time still holds its lock file for a moment.
	var failure error
	err := wait.Until(ctx, "libvirtd to start", time.Second, func(ctx context.Context) (bool, error) {
		failure = home.spawn(ctx, self, p)
		if failure != nil && strings.Contains(failure.Error(), "acquire pid file") {
			return false, nil
		}
		return true, failure
	})
	switch {
	case failure != nil && !errors.Is(err, failure): // the time ran out before another try
		return errors.Join(err, failure)
	case err != nil:
		return err
	}
	return wait.Until(ctx, "libvirtd to answer (its log is "+home.log()+")", readyInterval, func(ctx context.Context) (bool, error) {
		err := answers(ctx, home)
		if refused, ok := errors.AsType[golibvirt.Error](err); ok { // it is there, and cannot serve us
			return false, fmt.Errorf("libvirtd: %w (are all of %s installed?)", refused, Packages)
		}
		return err == nil, nil
	})
}

// spawn calls this program anew to carry out the plan, in namespaces of its own if KVM is to be hidden.
func (l layout) spawn(ctx context.Context, self []string, p plan) error {
	output, err := os.OpenFile(l.output(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("keeping libvirtd's first words: %w", err)
	}
	defer func() { _ = output.Close() }() // others write to it
	arguments, err := p.arguments()
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, self[0], append(self[1:len(self):len(self)], arguments...)...)
	// A file, not a pipe: the daemon may keep it open.
	command.Stdout, command.Stderr = output, output
	command.Env = l.environment()
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if p.Mask != "" {
		command.SysProcAttr.Cloneflags = unix.CLONE_NEWNS
		if !p.Drop {
			ownNamespace(command.SysProcAttr, p.UID, p.GID)
		}
	}
	if err := command.Run(); err != nil {
		return fmt.Errorf("libvirtd: %w: %s", err, l.lastWords())
	}
	return nil
}

// ownNamespace lets an ordinary user mount in a namespace of users where he is still himself. The capability to mount
// has to be ambient, or it would be lost when the program is executed.
func ownNamespace(attr *syscall.SysProcAttr, uid, gid int) {
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
}

// lastWords are what the start and libvirt's log said last, each in a line.
func (l layout) lastWords() string {
	var words []string
	for _, path := range []string{l.output(), l.log()} {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it never came to write one
		}
		lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
		if last := lines[len(lines)-1]; len(last) > 0 {
			words = append(words, string(last))
		}
	}
	return strings.Join(words, "; ")
}
