// Package private runs the libvirt that patchlab starts by itself when it is not told of another.
//
// It is one unprivileged libvirtd in session mode per user, with directories and sockets of its own, so that a libvirt
// of the host is neither needed nor touched. Runs share it; it ends itself when nobody uses it. Started by root it drops
// to the user libvirt-qemu, or nobody: a hostile guest that breaks out of QEMU is not root on the host.
package private

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/wait"
)

// Options of the private libvirt.
type Options struct {
	// Dir holds its sockets, configuration and logs. Paths of sockets are short: it may have at most [MaxDir] bytes.
	Dir string
	// Self is how this program is called to arrive in [Exec]: its path and the words before Exec's arguments.
	Self []string
	// MaskKVM hides /dev/kvm from libvirt and its QEMUs. Beside a KVM that lies, libvirt otherwise spends
	// over a minute on each define.
	MaskKVM bool
	// Idle is how long an unused libvirt stays; default a minute.
	Idle time.Duration
}

// Instance is a libvirt that runs.
type Instance struct {
	URI   string         // for [libvirt.Options]
	Owner *libvirt.Owner // the same; nil when QEMU runs as ourselves
	// KVM tells whether its QEMUs may use /dev/kvm. Without it only emulation works.
	KVM   bool
	Notes []string // what a user may want to know, in sentences
	Log   string   // what libvirt has to say
}

// MaxDir is the length of the longest directory whose sockets keep within the system's 107 bytes: the guest agent's is at
// /libvirt/qemu/channel/target/domain-ID-NAME/org.qemu.guest_agent.0 below it, with up to 4 digits of id and 20
// characters of name.
const MaxDir = 107 - len("/libvirt/qemu/channel/target/domain-1234-12345678901234567890/org.qemu.guest_agent.0")

const defaultIdle = time.Minute

// Ensure returns the user's private libvirt and starts it if it does not run.
func Ensure(ctx context.Context, opts Options) (Instance, error) {
	if len(opts.Dir) > MaxDir {
		return Instance{}, fmt.Errorf("the directory of the private libvirt, %s, is too long for the paths of sockets: "+
			"%d bytes, at most %d are possible; name a shorter one in PATCHLAB_RUNTIME_DIR", opts.Dir, len(opts.Dir), MaxDir)
	}
	home := layout{dir: opts.Dir}
	if err := home.makeTop(); err != nil {
		return Instance{}, fmt.Errorf("making the directory of the private libvirt: %w", err)
	}
	unlock, err := lock(ctx, home.lock())
	if err != nil {
		return Instance{}, err
	}
	defer unlock()
	account, err := home.account()
	if err != nil {
		return Instance{}, err
	}
	if err := home.handOver(account); err != nil {
		return Instance{}, fmt.Errorf("making the directories of the private libvirt: %w", err)
	}

	if answers(ctx, home) == nil {
		state, err := home.readState()
		return home.instance(account, state), err
	}
	if ctx.Err() != nil {
		return Instance{}, fmt.Errorf("reaching the private libvirt: %w", context.Cause(ctx))
	}
	state, err := start(ctx, opts, home, account)
	if err != nil {
		return Instance{}, fmt.Errorf("starting the private libvirt: %w", err)
	}
	if err := home.writeState(state); err != nil {
		return Instance{}, err
	}
	return home.instance(account, state), nil
}

func (l layout) instance(account account, state state) Instance {
	query := url.Values{"socket": {l.socket()}}
	return Instance{
		URI:   "qemu:///session?" + query.Encode(),
		Owner: account.owner(),
		KVM:   state.KVM, Notes: state.Notes, Log: l.log(),
	}
}

// answerPatience bounds a question to a libvirt that listens. It answers in milliseconds unless it is ending or hung.
const answerPatience = 15 * time.Second

// answers returns nil if a libvirt is there. Asking also starts its idle time anew, so that it stays for the caller.
func answers(ctx context.Context, home layout) error {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	driver, err := libvirt.Connect(ctx, libvirt.Options{URI: home.instance(account{}, state{}).URI})
	if err != nil {
		return err
	}
	return driver.Close()
}

// lockInterval is how often is looked whether another patchlab has finished starting the libvirt.
const lockInterval = 100 * time.Millisecond

// lock waits until no other patchlab is between looking for the libvirt and having started it.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the private libvirt: %w", err)
	}
	err = wait.Until(ctx, "another patchlab to start the private libvirt", lockInterval, func(context.Context) (bool, error) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking the private libvirt: %w", err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}
