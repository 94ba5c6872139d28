package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/wait"
)

const (
	consoleFile = "console.log"
	overlayFile = "overlay.qcow2"
	setupPath   = "/var/tmp/patchlab-setup" // /run is mounted noexec
)

// firstBoot boots the disk with its kernel handed over, since it has no boot loader yet. What the guest writes is merged
// into the disk when it has powered off.
func (j *buildJob) firstBoot(ctx context.Context) error {
	spec := j.spec("first")
	spec.Kernel, spec.Initrd = j.workshop.file(kernelFile), j.workshop.file(initrdFile)
	spec.CommandLine = "root=" + layoutOf(j.manifest).root + " rw console=ttyS0 net.ifnames=0"
	return j.withMachine(ctx, spec, func(ctx context.Context, m *machine) error {
		if err := j.stage(ctx, "first boot", m.boot); err != nil {
			return err
		}
		if err := j.stage(ctx, "boot loader", func(ctx context.Context) error {
			return j.runScript(ctx, m.conn, "installing the boot loader", loaderScript(j.manifest.Firmware))
		}); err != nil {
			return err
		}
		if err := j.stage(ctx, "setup", func(ctx context.Context) error { return j.setup(ctx, m.conn) }); err != nil {
			return err
		}
		return j.stage(ctx, "power off", func(ctx context.Context) error {
			if err := j.runScript(ctx, m.conn, "clearing up in the guest", leaveScript); err != nil {
				return err
			}
			return j.mergeFirstBoot(ctx, m)
		})
	})
}

// mergeFirstBoot turns the machine off and makes what its guest wrote a part of the disk.
func (j *buildJob) mergeFirstBoot(ctx context.Context, m *machine) error {
	if err := m.powerOff(ctx); err != nil {
		return err
	}
	commit := tool{name: "qemu-img", arguments: []string{"commit", "-q", m.spec.Disk.Path}, log: j.log}
	if err := commit.run(ctx); err != nil {
		return fmt.Errorf("merging the first boot into the disk: %w", err)
	}
	return nil
}

// checkBoot proves, on an overlay that is thrown away, that the image boots by itself and that nothing in it fails.
func (j *buildJob) checkBoot(ctx context.Context) error {
	return j.withMachine(ctx, j.spec("check"), func(ctx context.Context, m *machine) error {
		if err := m.boot(ctx); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, j.Timeouts.Settle)
		defer cancel()
		// Exits non-zero for a degraded system, whose failed units say more.
		state, err := m.conn.Run(ctx, guest.Command{Line: "systemctl is-system-running --wait"})
		if err != nil {
			return fmt.Errorf("waiting for the guest to settle: %w", err)
		}
		if got := strings.TrimSpace(string(state.Stdout)); got != "running" {
			failed, err := m.conn.Run(ctx, guest.Command{Line: "systemctl --failed --plain --no-legend"})
			return errors.Join(fmt.Errorf("the new guest is %q, not running: %s", got, bytes.TrimSpace(failed.Stdout)), err)
		}
		if err := j.checkServices(ctx, m.conn); err != nil {
			return err
		}
		return m.keepVariables(ctx)
	})
}

func (j *buildJob) checkServices(ctx context.Context, conn guest.Conn) error {
	services := j.manifest.Services
	if len(services) == 0 {
		return nil
	}
	// One state a line, in order; the exit code only tells whether one of them is active.
	answer, err := conn.Run(ctx, guest.Command{Line: "systemctl is-active " + strings.Join(services, " ")})
	if err != nil {
		return fmt.Errorf("asking for the services: %w", err)
	}
	states := strings.Fields(string(answer.Stdout))
	if len(states) != len(services) {
		return fmt.Errorf("asking for the services: %d answers for %d: %q", len(states), len(services), answer.Stdout)
	}
	var failures []error
	for i, state := range states {
		if state != "active" {
			failures = append(failures, fmt.Errorf("service %s is %s in the new guest", services[i], state))
		}
	}
	return errors.Join(failures...)
}

// runScript runs a text as the guest's administrator; its output goes to the log.
func (j *buildJob) runScript(ctx context.Context, conn guest.Conn, act, script string) error {
	return j.runCommand(ctx, conn, act, guest.Command{Line: "sh -s", Stdin: strings.NewReader(script)})
}

func (j *buildJob) runCommand(ctx context.Context, conn guest.Conn, act string, command guest.Command) error {
	ctx, cancel := context.WithTimeout(ctx, j.Timeouts.Apply)
	defer cancel()
	result, err := conn.Run(ctx, command)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	_, _ = j.log.Write(slices.Concat(result.Stdout, result.Stderr)) // a log that cannot be written must not end the build
	if err := result.Err(command); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}

// setup runs the manifest's own script.
func (j *buildJob) setup(ctx context.Context, conn guest.Conn) error {
	if len(j.manifest.SetupScript) == 0 {
		return nil
	}
	if err := conn.Put(ctx, setupPath, 0o700, bytes.NewReader(j.manifest.SetupScript)); err != nil {
		return fmt.Errorf("sending %s: %w", j.manifest.Setup, err)
	}
	command := guest.Command{Line: setupPath + " && rm " + setupPath}
	return j.runCommand(ctx, conn, "running "+j.manifest.Setup, command)
}

func (j *buildJob) spec(boot string) hypervisor.DomainSpec {
	return hypervisor.DomainSpec{
		Name: j.domainName(boot), RunID: "image-" + j.manifest.Name, RunDir: j.workshop.path,
		Firmware: j.manifest.Firmware, Accelerator: j.Accelerator,
		MemoryMiB: j.manifest.Memory.MiB(), VCPUs: j.manifest.VCPUs,
		Disk:      hypervisor.Disk{Path: j.workshop.file(overlayFile), Backing: j.workshop.file(diskFile)},
		Variables: j.variables(boot),
		Console:   j.workshop.file(consoleFile), MAC: mac(j.manifest.Name),
	}
}

// domainName is the same for every build of the image in this store, so that the next build finds what a dead one left;
// stores of other users or tests have other names.
func (j *buildJob) domainName(boot string) string {
	sum := sha256.Sum256([]byte(j.Store.Dir))
	return fmt.Sprintf("patchlab-image-%s-%s-%s", j.manifest.Name, boot, hex.EncodeToString(sum[:4]))
}

// clearDomains takes away what a dead build left running. It is called with the build's lock held.
func (j *buildJob) clearDomains(ctx context.Context) error {
	for _, boot := range []string{"first", "check"} {
		domain, err := j.Driver.Lookup(ctx, j.domainName(boot))
		if errors.Is(err, hypervisor.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking for what a dead build left: %w", err)
		}
		if err := domain.Undefine(ctx); err != nil {
			return fmt.Errorf("removing what a dead build left: %w", err)
		}
	}
	return nil
}

// machine is a guest of the build.
type machine struct {
	job    *buildJob
	spec   hypervisor.DomainSpec
	domain hypervisor.Domain // nil until it is defined
	conn   guest.Conn        // nil until it has answered
}

// withMachine takes the machine away again when use is done, whatever became of it.
func (j *buildJob) withMachine(ctx context.Context, spec hypervisor.DomainSpec, use func(context.Context, *machine) error) (err error) {
	m := &machine{job: j, spec: spec}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.Timeouts.Cleanup)
		defer cancel()
		if m.conn != nil {
			_ = m.conn.Close() // the domain goes anyway
		}
		if m.domain != nil {
			err = errors.Join(err, m.domain.Undefine(cleanup))
		}
	}()
	return use(ctx, m)
}

// boot turns the machine on and waits until it lets us in.
func (m *machine) boot(ctx context.Context) error {
	key, err := m.job.NewKey()
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	m.spec.Credentials = map[string]string{"ssh.authorized_keys.root": key.AuthorizedKey}
	return m.bootWith(ctx, key)
}

// bootWith turns the machine on and waits until it lets the key in.
func (m *machine) bootWith(ctx context.Context, key Key) error {
	address, err := m.powerOn(ctx)
	if err != nil {
		return err
	}
	dialer, err := key.Dialer(address, m.job.hostKey, m.job.log)
	if err != nil {
		return err
	}
	const interval = 500 * time.Millisecond
	bounded, cancel := context.WithTimeout(ctx, m.job.Timeouts.Boot)
	defer cancel()
	if m.conn, err = guest.Await(bounded, livingDialer{m.domain, dialer}, interval); err != nil {
		return fmt.Errorf("booting the guest (its console is kept beside the log): %w", err)
	}
	return nil
}

// powerOn makes the domain and returns the address at which its guest will answer.
func (m *machine) powerOn(ctx context.Context) (address string, err error) {
	if m.domain, err = m.job.Driver.Define(ctx, m.spec); err != nil {
		return "", err
	}
	if err := m.domain.Start(ctx); err != nil {
		return "", err
	}
	return m.domain.Address(ctx)
}

// powerOff asks the guest to and waits until it has.
func (m *machine) powerOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.job.Timeouts.Shutdown)
	defer cancel()
	// The connection may die before the answer arrives.
	if _, err := m.conn.Run(ctx, guest.Command{Line: "systemctl poweroff"}); err != nil && !errors.Is(err, guest.ErrLost) {
		return fmt.Errorf("powering the guest off: %w", err)
	}
	const interval = 250 * time.Millisecond
	return wait.Until(ctx, "the guest to power off", interval, func(ctx context.Context) (bool, error) {
		state, err := m.domain.State(ctx)
		switch {
		case err != nil:
			return false, err
		case state == hypervisor.StateCrashed:
			return false, errDomainGone
		default:
			return state == hypervisor.StateOff, nil
		}
	})
}

// errDomainGone is not a failure of the guest: somebody killed it, or the hypervisor failed.
var errDomainGone = errors.New("the domain ended while the image was built in it")

// livingDialer stops trying when the domain is gone.
type livingDialer struct {
	domain hypervisor.Domain
	dialer guest.Dialer
}

// Dial makes one attempt.
func (d livingDialer) Dial(ctx context.Context) (guest.Conn, error) {
	if err := checkAlive(ctx, d.domain); err != nil {
		return nil, err
	}
	return d.dialer.Dial(ctx)
}

func checkAlive(ctx context.Context, domain hypervisor.Domain) error {
	state, err := domain.State(ctx)
	if err == nil && state != hypervisor.StateRunning {
		err = errDomainGone
	}
	return err
}
