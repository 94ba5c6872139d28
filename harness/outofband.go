package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/printable"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

// overCut does something in the patched guest, and once more over another connection when the first one was lost: the restart
// of a service may have cut it. ssh is asked first; a guest that it does not reach any more is read out of band.
func (r *run) overCut(ctx context.Context, c *clone, p *phase, do func() error) error {
	err := do()
	if !errors.Is(err, guest.ErrLost) || ctx.Err() != nil || r.judge == nil {
		return err
	}
	if err := r.reconnect(ctx, c, p); err != nil {
		return err
	}
	return do()
}

// reconnect replaces a connection that was lost.
func (r *run) reconnect(ctx context.Context, c *clone, p *phase) error {
	_ = c.conn.Close() // it is lost
	err := c.connect(ctx, r.bounds.Boot, "")
	if err == nil || r.judge == nil {
		return err
	}
	return r.goOutOfBand(ctx, c, p, "", err)
}

// goOutOfBand goes on over the guest agent where ssh has failed, and tells why it has: as a finding when the guest shows that
// it is the patch's doing, else as the lab's fault, with which the run ends once the facts at hand are judged. Where no agent
// answers either, the error is the cause as it came. The boot named before is one that was to end.
func (r *run) goOutOfBand(ctx context.Context, c *clone, p *phase, before string, cause error) error {
	if !r.isLockedOut(ctx, c, cause) {
		return cause
	}
	conn, err := r.awaitAgent(ctx, c, before)
	if err != nil {
		if p.kind != "reboot" { // what is known of its console is asked first there
			r.readDead(ctx, c, p, &verdict.Finding{}) // there is none: nobody knows whose fault it is
		}
		return cause
	}
	now, err := r.askReach(ctx, conn)
	if err != nil {
		return errors.Join(cause, err, conn.Close())
	}
	l := whose(r.known.Reach, now, cause)
	file, lines, err := r.keepLockout(ctx, conn, p, now, l)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	p.note("no ssh: going on over the QEMU guest agent; %s", l.reason)
	c.conn, c.outOfBand = conn, true
	if l.ours {
		// Not %w: nobody may take it for the guest's silence.
		r.labFault = fmt.Errorf("ssh does not reach the guest (%v), and the guest is not to blame: it answers over its "+
			"agent, and %s; see %s", cause, l.reason, file)
	} else {
		r.tellLockout(c, p, l, now, verdict.Evidence{File: file, Lines: lines})
	}
	return probe.Install(ctx, conn)
}

// isLockedOut tells whether a failure of ssh may be the guest's doing: its domain runs, and waiting or asking again is in vain.
func (r *run) isLockedOut(ctx context.Context, c *clone, cause error) bool {
	_, isSilent := errors.AsType[*noAnswerError](cause)
	_, isRefused := errors.AsType[*refusedError](cause)
	if c.agent == nil || ctx.Err() != nil || !isSilent && !isRefused {
		return false
	}
	ask, cancel := context.WithTimeout(ctx, r.bounds.Driver)
	defer cancel()
	state, err := c.domain.State(ask)
	return err == nil && state == hypervisor.StateRunning
}

// awaitAgent waits for the agent of another boot than the one before.
func (r *run) awaitAgent(ctx context.Context, c *clone, before string) (guest.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Command)
	defer cancel()
	conn, err := guest.Await(ctx, c.agent, 2*time.Second)
	if err != nil {
		return nil, err
	}
	id, err := probe.BootID(ctx, conn)
	if err == nil && id == before {
		err = errors.New("it is still the boot that was to end")
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// lockoutScript prints what an administrator would look at on the console, as sections of which the first tells most.
const lockoutScript = `exec 2>&1
echo '== sshd -t'; mkdir -p /run/sshd; sshd -t
echo '== systemctl'; systemctl --no-pager --lines=0 status ssh.service ssh.socket sshd.service networking.service systemd-networkd.service NetworkManager.service
echo '== journal'; journalctl --boot --no-pager --lines=60 --unit=ssh --unit=sshd --unit=networking --unit=systemd-networkd --unit=NetworkManager
exit 0`

// keepLockout writes down what the guest shows of the lockout. It returns the file, and the lines that tell most.
func (r *run) keepLockout(
	ctx context.Context, conn guest.Conn, p *phase, now reach, l lockout,
) (file string, lines []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Command)
	defer cancel()
	shown, err := conn.Run(ctx, guest.Command{Line: lockoutScript})
	if err != nil {
		return "", nil, fmt.Errorf("asking the guest about its sshd: %w", err)
	}
	const most, longest = 400, 300
	network := func(r reach) string { return strings.Join(r.Network, "\n") + "\n" }
	diff := udiff.Unified("network before the patch", "network now", network(r.known.Reach), network(now))
	sections := printable.Lines(string(shown.Stdout), most, longest)
	text := "why ssh does not answer: " + l.reason + "\nthe guest's own port 22: " + string(now.SSH) + "\n" +
		"== network\n" + network(now) + diff + strings.Join(sections, "\n") + "\n"
	file = filepath.Join(rundir.OutOfBand, strings.ReplaceAll(p.name, " ", "-")+".log")
	if l.moved {
		lines = changed(diff)
	}
	for _, line := range sections[min(1, len(sections)):] {
		if strings.HasPrefix(line, "== ") || len(lines) >= mostTelling {
			break
		}
		lines = append(lines, line)
	}
	return file, lines, r.dir.Write(file, []byte(text))
}

// mostTelling bounds the lines that are quoted in a finding.
const mostTelling = 8

// changed are the lines of a unified diff that came or went.
func changed(diff string) []string {
	var lines []string
	for line := range strings.Lines(diff) {
		isMoved := strings.HasPrefix(line, "-") || strings.HasPrefix(line, "+")
		isHead := strings.HasPrefix(line, "---") || strings.HasPrefix(line, "+++")
		if isMoved && !isHead && len(lines) < mostTelling {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// tellLockout makes findings of it, once a run: whoever is locked out by an increment is so after the reboot too.
func (r *run) tellLockout(c *clone, p *phase, l lockout, now reach, evidence verdict.Evidence) {
	if r.lockedOut {
		return
	}
	r.lockedOut = true
	f := verdict.Finding{
		ID: "PL205", Severity: verdict.Error, Phase: p.kind, Mode: string(p.mode), Increment: cmp.Or(p.increment, r.onlyIncrement()),
		Subject: fact.Key{Kind: fact.KindPort, Name: "tcp/22"},
		Title:   "the guest runs, but does not answer over ssh; what is known of it was read over the QEMU guest agent",
		Cause:   l.reason, Evidence: []verdict.Evidence{evidence},
	}
	if p.kind == "reboot" {
		f.Title = "the guest came up, but does not answer over ssh; what is known of it was read over the QEMU guest agent"
		seen := boot.Read(c.console, c.mark)
		f.Evidence = append(f.Evidence, verdict.Evidence{File: rundir.Console, Lines: tailOf(seen.Lines, 2)})
	}
	r.judge.Add(withRemedy(f))
	if !l.moved {
		return
	}
	diff := udiff.Unified("", "", strings.Join(r.known.Reach.Network, "\n")+"\n", strings.Join(now.Network, "\n")+"\n")
	var was, is []string
	for _, line := range changed(diff) {
		told := strings.Join(strings.Fields(line[1:]), " ")
		if line[0] == '-' {
			was = append(was, told)
		} else {
			is = append(is, told)
		}
	}
	f.ID, f.Title, f.Cause = "PL204", "the guest's network is not as it was before the patch", ""
	f.Subject = fact.Key{Kind: "network", Name: "ipv4"}
	f.Was, f.Is = strings.Join(was, "; "), strings.Join(is, "; ")
	f.Evidence = []verdict.Evidence{evidence}
	r.judge.Add(withRemedy(f))
}

func tailOf(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }
