package harness_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
)

// agent answers for the agents of all guests: with the name of the domain, by which agentDialer finds the guest.
func (l *lab) agent(_ context.Context, spec hypervisor.DomainSpec, _ []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.servers[spec.Name]; s == nil || !s.agent {
		return nil, hypervisor.ErrNoAgent
	}
	return []byte(spec.Name), nil
}

// agentDialer goes through the driver to the guest's back door.
type agentDialer struct {
	lab    *lab
	caller hypervisor.AgentCaller
}

func (d agentDialer) Dial(ctx context.Context) (guest.Conn, error) {
	name, err := d.caller.CallAgent(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("reaching the agent: %w: %w", guest.ErrLost, err)
	}
	d.lab.mu.Lock()
	s := d.lab.servers[string(name)]
	d.lab.mu.Unlock()
	return s.guest.Backdoor().Dial(ctx)
}

// sshDialer is the usual way, which a test can spoil.
type sshDialer struct{ server *server }

func (d sshDialer) Dial(ctx context.Context) (guest.Conn, error) {
	d.server.mu.Lock()
	err := d.server.sshFails
	d.server.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return d.server.guest.Dial(ctx)
}

// failSSH spoils it while somebody may be dialing.
func (s *server) failSSH(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sshFails = err
}

const network = "eth0 UP 52:54:00:00:00:01 <UP,LOWER_UP>\neth0 UP 10.0.2.15/24\n"

// scriptReach lets the guest say how it can be reached.
func (s *server) scriptReach() {
	s.guest.On("cat /proc/sys/kernel/random/boot_id; systemctl is-system-running", s.reply(func() string {
		return s.bootID() + "\nrunning\n"
	}))
	s.guest.OnPrefix("set -- $(ip -4", s.reply(func() string {
		return cmp.Or(s.greeting, "greets") + "\n" + cmp.Or(s.network, network)
	}))
	s.guest.OnPrefix("exec 2>&1\necho '== sshd -t'", guesttest.Says(
		"== sshd -t\n/etc/ssh/sshd_config: line 123: Bad configuration option: \x1b[31mOops\n== systemctl\nssh.service failed\n"))
}

// lockOut makes a guest that has an agent and, from its next boot on, no ssh.
func lockOut(s *server) {
	s.agent, s.lockedUp, s.greeting = true, true, "silent"
	s.upgrade("nginx:amd64", "2")
}

// rebootsInto arranges what the patched guest is after its reboot.
func (l *lab) rebootsInto(change func(*server)) {
	l.onReboot = func(s *server) {
		if s.patched {
			change(s)
		}
	}
}

func find(result report.Result, id string) (verdict.Finding, bool) {
	for _, f := range result.Findings {
		if f.ID == id {
			return f, true
		}
	}
	return verdict.Finding{}, false
}

// TestWhoIsToBlameWhenSSHDoesNotAnswer holds that the guest's own word decides: the patch is blamed for what differs in the
// guest, the lab for everything else.
func TestWhoIsToBlameWhenSSHDoesNotAnswer(t *testing.T) {
	lost := func(cause error) error { return fmt.Errorf("connecting: %w: %w", guest.ErrLost, cause) }
	tests := []struct {
		name   string
		change func(*server) // with the reboot
		want   verdict.Outcome
		text   string   // part of the reason or of PL205's cause
		found  []string // beside PL205
	}{
		{
			"its sshd does not start", func(s *server) { s.greeting = "silent"; s.lockedUp = true },
			verdict.Regression, "nothing greets on the guest's own port 22", nil,
		},
		{
			"its network is gone", func(s *server) { s.network = "eth0 DOWN 52:54:00:00:00:01 <BROADCAST>\n"; s.lockedUp = true },
			verdict.Regression, "the network is not as it was",
			[]string{"PL204"},
		},
		{
			"its sshd refuses the key", func(s *server) { s.failSSH(errors.New("the guest refuses the key")) },
			verdict.Regression, "the guest refuses the key", nil,
		},
		{
			"it is well, and the lab does not reach it", func(s *server) { s.lockedUp = true },
			verdict.Testbed, "the guest is not to blame", nil,
		},
		{
			"nobody listens on the host", func(s *server) { s.greeting = "silent"; s.failSSH(lost(syscall.ECONNREFUSED)) },
			verdict.Testbed, "nobody listens on the host's end", nil,
		},
		{
			"its cable was pulled", func(s *server) {
				s.network = "eth0 DOWN 52:54:00:00:00:01 <NO-CARRIER,UP>\n"
				s.lockedUp = true
			},
			verdict.Testbed, "which only the hypervisor can do", nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				lab.onApply["bad"] = func(s *server) { s.agent = true; s.upgrade("nginx:amd64", "2") }
				lab.rebootsInto(tt.change)
				result := lab.run(scripted("bad"))
				if result.Outcome != tt.want {
					t.Errorf("outcome %s (%s), want %s; findings %v", result.Outcome, result.Reason, tt.want, ids(result))
				}
				f, told := find(result, "PL205")
				if told != (tt.want == verdict.Regression) || !strings.Contains(result.Reason+f.Cause, tt.text) {
					t.Errorf("reason %q, finding %+v, want %q", result.Reason, f, tt.text)
				}
				for _, id := range tt.found {
					if _, ok := find(result, id); !ok {
						t.Errorf("findings %v, want %s", ids(result), id)
					}
				}
			})
		})
	}
}

func TestALockedOutGuestIsJudgedByItsFactsAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["bad"] = lockOut
		lab.rebootsInto(func(s *server) { s.set("nginx.service", "active", "inactive") })
		began := time.Now()
		result := lab.run(scripted("bad"))
		if diff := gocmp.Diff([]string{"PL101 reboot bad nginx.service", "PL205 reboot bad tcp/22"}, ids(result)); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
		if diff := gocmp.Diff([]string{"bad"}, result.Guilty); diff != "" {
			t.Errorf("guilty (-want +got):\n%s", diff)
		}
		want := "prepare:done, apply bad:done, compare:done, audit:done, reboot:done, compare:no ssh, teardown:done"
		if got := phases(result); !strings.HasSuffix(got, want) {
			t.Errorf("phases %s, want %s", got, want)
		}
		f, _ := find(result, "PL205")
		if !strings.Contains(f.Title, "read over the QEMU guest agent") || len(f.Evidence) == 0 {
			t.Fatalf("the finding is %+v", f)
		}
		if diff := gocmp.Diff(verdict.Evidence{
			File: "out-of-band/reboot.log", Lines: []string{"/etc/ssh/sshd_config: line 123: Bad configuration option: Oops"},
		}, f.Evidence[0]); diff != "" {
			t.Errorf("evidence (-want +got):\n%s", diff)
		}
		for _, file := range []string{"out-of-band/reboot.log", "facts/reboot-clean.json", "journal/reboot-clean.log"} {
			if _, err := os.Stat(filepath.Join(result.RunDir, file)); err != nil {
				t.Errorf("evidence is missing: %v", err)
			}
		}
		// Without the guest's word the whole bound of a boot would have passed: a quarter of an hour.
		if took := time.Since(began); took > 5*time.Minute {
			t.Errorf("the run took %v", took)
		}
	})
}

func TestSSHThatGoesAwayInApplyDoesNotEndTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		installed := 0
		lab.onApply["bad"] = func(s *server) {
			installed++
			lockOut(s)
			s.set("nginx.service", "enabled", "disabled")
			s.guest.Down()
		}
		lab.onApply["next"] = func(s *server) { s.upgrade("libssl3:amd64", "2") }
		result := lab.run(scripted("bad", "next"))
		want := []string{"PL103 apply bad nginx.service", "PL205 apply bad tcp/22"}
		if diff := gocmp.Diff(want, ids(result)); diff != "" || result.Outcome != verdict.Regression || installed != 1 {
			t.Errorf("outcome %s (%s), installed %d times, findings (-want +got):\n%s", result.Outcome, result.Reason, installed, diff)
		}
		order := "apply bad:done, apply next:no ssh, compare:no ssh, audit:done, reboot:done, compare:no ssh, teardown:done"
		if got := phases(result); !strings.HasSuffix(got, order) {
			t.Errorf("phases %s, want %s", got, order)
		}
	})
}

func TestSSHThatComesBackWithTheRebootIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["bad"] = func(s *server) {
			lockOut(s)
			s.lockedUp = false
			s.guest.Down()
		}
		result := lab.run(scripted("bad"))
		want := "apply bad:done, compare:no ssh, audit:done, reboot:done, compare:done, teardown:done"
		if got := phases(result); !strings.HasSuffix(got, want) {
			t.Errorf("phases %s, want %s", got, want)
		}
		if _, told := find(result, "PL205"); !told || result.Outcome != verdict.Regression {
			t.Errorf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
		}
	})
}

func TestTheLabIsToBlameForWhatItDoesNotReachInApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["good"] = func(s *server) {
			s.agent = true
			s.upgrade("nginx:amd64", "2")
			s.guest.Down()
		}
		result := lab.run(scripted("good"))
		if result.Outcome != verdict.Testbed || len(result.Findings) > 0 {
			t.Errorf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
		}
	})
}

func TestAnUnpatchedGuestWithoutSSHIsTheLabsAndSoonTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.neverUp = true
		lab.onUp = func(s *server) { s.agent, s.greeting = true, "silent" }
		began := time.Now()
		result := lab.run(scripted("good"))
		if result.Outcome != verdict.Testbed || !strings.Contains(result.Reason, "after it had come to rest") {
			t.Errorf("outcome %s (%s)", result.Outcome, result.Reason)
		}
		if took := time.Since(began); took > 5*time.Minute {
			t.Errorf("the run took %v", took)
		}
	})
}

// TestTheLabsFaultHidesNoDamage holds that what the facts show counts, though the lab cannot reach the guest over ssh.
func TestTheLabsFaultHidesNoDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["bad"] = func(s *server) { s.agent = true; s.upgrade("nginx:amd64", "2") }
		lab.rebootsInto(func(s *server) { s.lockedUp = true; s.set("nginx.service", "active", "inactive") })
		result := lab.run(scripted("bad"))
		if diff := gocmp.Diff([]string{"PL101 reboot bad nginx.service"}, ids(result)); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
		if result.Outcome != verdict.Regression || !strings.Contains(result.Reason, "the guest is not to blame") {
			t.Errorf("outcome %s (%s)", result.Outcome, result.Reason)
		}
	})
}

// TestAnAgentOfTheBootThatWasToEndProvesNothing is a guest that never goes down when asked to reboot.
func TestAnAgentOfTheBootThatWasToEndProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["bad"] = lockOut
		lab.bootsAgain = func(s *server) bool { return !s.patched }
		result := lab.run(scripted("bad"))
		if f, told := find(result, "PL205"); told {
			t.Errorf("it is told as %+v", f)
		}
		if result.Outcome != verdict.BootFailed {
			t.Errorf("outcome %s (%s)", result.Outcome, result.Reason)
		}
	})
}
