package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/wait"
)

const seedFile = "seed.iso"

// UnreachableError is a guest that runs but lets nobody in.
type UnreachableError struct {
	Reason string
}

func (e *UnreachableError) Error() string { return e.Reason }

// candidate is a way into a guest that is not known yet, with the key of this boot.
type candidate struct {
	access Access
	key    Key
}

// adopt boots a foreign guest with every way in at hand, keeps the first one that it takes, and makes its first boot here a
// part of the disk: what it does only once (cloud-init, host keys) is not done by each clone anew.
func (j *importJob) adopt(ctx context.Context, m *machine) error {
	if err := j.stage(ctx, "first boot", func(ctx context.Context) error { return j.meet(ctx, m) }); err != nil {
		return err
	}
	return j.stage(ctx, "power off", func(ctx context.Context) error {
		command := guest.Command{Line: "sh -s " + j.access.Login(), Stdin: strings.NewReader(adoptedScript)}
		if err := j.runCommand(ctx, m.conn, "clearing up in the guest", command); err != nil {
			return err
		}
		return j.mergeFirstBoot(ctx, m)
	})
}

// meet turns the guest on, finds the way in and waits until it has settled.
func (j *importJob) meet(ctx context.Context, m *machine) error {
	ways, err := j.candidates()
	if err != nil {
		return err
	}
	if err := j.handOverAll(m, ways); err != nil {
		return err
	}
	address, err := m.powerOn(ctx)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, j.Timeouts.Boot)
	defer cancel()
	if err := j.learnHostKey(bounded, m, address); err != nil {
		return j.explainSilence(ctx, err)
	}
	if err := j.findWay(bounded, m, address, ways); err != nil {
		return j.explainSilence(ctx, err)
	}
	if err := j.settle(ctx, m); err != nil {
		return err
	}
	found, err := j.survey(ctx, m)
	if err != nil {
		return err
	}
	if found.Instance == j.instance() {
		j.access.Instance = found.Instance // it has taken the seed: each clone must bring it again
	}
	return nil
}

// instance is what cloud-init is told to be: the same for each clone.
func (j *importJob) instance() string { return "patchlab-" + j.order.Name }

// candidates are the ways in, in the order of preference.
func (j *importJob) candidates() ([]candidate, error) {
	offered := []Access{
		{Way: WayCredential, User: root},
		{Way: WaySeed, User: j.order.User, Instance: j.instance()},
	}
	if j.order.KeyFile != "" {
		offered = append(offered, Access{Way: WayKey, User: j.order.User, KeyFile: j.order.KeyFile})
	}
	var ways []candidate
	for _, access := range offered {
		access = access.withDefaults()
		key, err := j.order.NewKey(access)
		if err != nil {
			return nil, err
		}
		ways = append(ways, candidate{access, key})
	}
	return ways, nil
}

// handOverAll gives the first boot the keys of all ways.
func (j *importJob) handOverAll(m *machine, ways []candidate) error {
	for _, way := range ways {
		if err := way.access.HandOver(way.key.AuthorizedKey, j.workshop.file(seedFile), &m.spec); err != nil {
			return err
		}
	}
	return nil
}

// learnHostKey believes the first answer: the network between is QEMU's own, on this host.
func (j *importJob) learnHostKey(ctx context.Context, m *machine, address string) error {
	return m.waitFor(ctx, "the guest to answer", func(ctx context.Context) (bool, error) {
		line, err := j.order.HostKey(ctx, address)
		if errors.Is(err, guest.ErrLost) {
			return false, nil
		}
		if err == nil {
			j.hostKey, err = hostKey(line)
		}
		return err == nil, err
	})
}

// findWay tries the ways in turn until the guest takes one. A guest that still boots may refuse what it takes a moment later.
func (j *importJob) findWay(ctx context.Context, m *machine, address string, ways []candidate) error {
	patience, cancel := context.WithTimeoutCause(ctx, j.Timeouts.Settle, errNoWay)
	defer cancel()
	err := m.waitFor(patience, "a way into the guest", func(ctx context.Context) (bool, error) {
		for _, way := range ways {
			conn, err := j.try(ctx, way, address)
			if err == nil {
				m.conn, j.access = conn, way.access
				return true, nil
			}
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			fmt.Fprintf(j.log, "%s: %v\n", way.access, err) //nolint:errcheck // a log that cannot be written must not end the import
		}
		return false, nil
	})
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(patience), errNoWay) {
		return j.noWay(ways)
	}
	if err != nil {
		return err
	}
	return j.checkAdministrator(ctx, m)
}

var errNoWay = errors.New("the guest takes no key")

func (j *importJob) try(ctx context.Context, way candidate, address string) (guest.Conn, error) {
	dialer, err := way.key.Dialer(address, j.hostKey, j.log)
	if err != nil {
		return nil, err
	}
	const bound = 30 * time.Second // an emulated guest that is busy booting was seen to need 5 s for a login
	attempt, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return dialer.Dial(attempt)
}

// noWay says what was tried, and what can be done.
func (j *importJob) noWay(ways []candidate) error {
	var tried []string
	for _, way := range ways {
		tried = append(tried, way.access.String())
	}
	remedy := "give a private key that it knows (--key FILE, with --user NAME if root may not log in), or a user of cloud-init's " +
		"with sudo (--user NAME)"
	if j.order.KeyFile != "" {
		remedy = "see that the key is in that user's authorized_keys and that sshd lets the user in"
	}
	return &UnreachableError{Reason: "the guest answers over ssh but lets nobody in (tried " + strings.Join(tried, "; ") + "); " + remedy}
}

// checkAdministrator makes sure that a login is worth one.
func (j *importJob) checkAdministrator(ctx context.Context, m *machine) error {
	result, err := m.conn.Run(ctx, guest.Command{Line: "id -u"})
	if err != nil {
		return fmt.Errorf("asking whether the login is the administrator's: %w", err)
	}
	if result.ExitCode != 0 || strings.TrimSpace(string(result.Stdout)) != "0" {
		user := j.access.Login()
		return &UnreachableError{Reason: fmt.Sprintf("%s logs in but cannot become root without a password, which patchlab needs: "+
			"in the guest, allow it (echo '%s ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/%s), or give root's key", user, user, user)}
	}
	return nil
}

// explainSilence adds what the console shows to an error about a guest that was waited for.
func (j *importJob) explainSilence(ctx context.Context, err error) error {
	if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	seen := boot.Read(j.workshop.file(consoleFile), 0)
	text := fmt.Sprintf("the guest did not answer over ssh within %s", j.Timeouts.Boot.Round(time.Second))
	switch {
	case len(seen.Lines) == 0:
		text += "; its serial console shows nothing (does it need --firmware efi, or more --memory? has it an sshd?)"
	default:
		text += fmt.Sprintf("; its console came to the stage %s, and ends with %q", seen.Stage, seen.Lines[len(seen.Lines)-1])
	}
	return &UnreachableError{Reason: text}
}

// settle waits for the end of the boot's jobs. A degraded guest is taken as it is: its failures are old.
func (j *importJob) settle(ctx context.Context, m *machine) error {
	ctx, cancel := context.WithTimeout(ctx, j.Timeouts.Boot)
	defer cancel()
	if _, err := m.conn.Run(ctx, guest.Command{Line: "systemctl is-system-running --wait"}); err != nil {
		return fmt.Errorf("waiting for the guest to settle: %w", err)
	}
	return nil
}

// checkClone boots a clone as runs do, and takes down what it is like.
func (j *importJob) checkClone(ctx context.Context, m *machine) error {
	mark := boot.Mark(m.spec.Console)
	key, err := j.order.NewKey(j.access)
	if err != nil {
		return err
	}
	if err := j.access.HandOver(key.AuthorizedKey, j.workshop.file(seedFile), &m.spec); err != nil {
		return err
	}
	if err := m.bootWith(ctx, key); err != nil {
		return err
	}
	if err := j.settle(ctx, m); err != nil {
		return err
	}
	found, err := j.survey(ctx, m)
	if err != nil {
		return err
	}
	found.Console = boot.Read(m.spec.Console, mark).Stage
	j.record(found)
	return m.keepVariables(ctx)
}

// waitFor polls while the domain lives.
func (m *machine) waitFor(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	const interval = 2 * time.Second // sshd punishes those who fail too often
	return wait.Until(ctx, what, interval, func(ctx context.Context) (bool, error) {
		if err := checkAlive(ctx, m.domain); err != nil {
			return false, err
		}
		return condition(ctx)
	})
}
