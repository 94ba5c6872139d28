package harness_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// power is what happens when the lab's guests lose it, or panic, for a test to arrange. The zero values are guests of which a power cut
// takes what it should, and that reset themselves after a panic.
type power struct {
	onLay     func(*server)
	onCut     func(*server) // the domain is off
	noPlace   bool          // for the canary
	syncedIs  string        // what becomes of the flushed file: "" is kept
	writtenIs string        // and of the other one: "" is lost
	mounted   string        // how the file system is mounted
	stays     func(*server) bool
	setting   int // kernel.panic, unless it stays
	deafTo    bool
}

// start brings a guest to life: the same as before, if somebody has cut its power.
func (l *lab) start(spec hypervisor.DomainSpec) error {
	l.mu.Lock()
	before := l.servers[spec.Name]
	again := before != nil && (before.cut || before.patched && l.menu != nil)
	if !again {
		l.servers[spec.Name] = newServer(l, spec)
	}
	l.mu.Unlock()
	if again {
		if before.cut || l.menu == nil {
			before.cut = false
			before.reboot()
			return nil
		}
		l.menu.show(before)
	}
	return nil
}

func (l *lab) cut(spec hypervisor.DomainSpec) {
	l.mu.Lock()
	s := l.servers[spec.Name]
	s.cut, s.cuts = true, s.cuts+1
	l.mu.Unlock()
	if l.power.onCut != nil {
		l.power.onCut(s)
	}
}

func (s *server) scriptPower() {
	p := &s.lab.power
	s.guest.OnPrefix("word=", func(_ context.Context, c guest.Command) guest.Result {
		switch {
		case strings.Contains(c.Line, "findmnt"):
			text := fmt.Sprintf("synced %s\nunsynced %s\n%s\n", orElse(p.syncedIs, report.Kept), orElse(p.writtenIs, report.Lost), p.mounted)
			return guest.Result{Stdout: []byte(text)}
		case p.noPlace:
			return guest.Result{ExitCode: 1, Stderr: []byte("no disk\n")}
		default:
			if p.onLay != nil {
				p.onLay(s)
			}
			return guest.Result{Stdout: []byte("/var/tmp\n")}
		}
	})
	s.guest.On("cat /proc/sys/kernel/panic", s.reply(func() string {
		if p.stays != nil && p.stays(s) {
			return "0\n"
		}
		return fmt.Sprintln(max(1, p.setting))
	}))
	s.guest.OnPrefix("(sleep 1; echo c >/proc/sysrq-trigger)", s.reply(func() string {
		if !p.deafTo {
			go s.panics()
		}
		return ""
	}))
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// panics is a kernel that has panicked, and resets the machine unless it stays as it is.
func (s *server) panics() {
	<-time.After(time.Second) // of the fake clock
	s.console("[  99.0] Kernel panic - not syncing: sysrq triggered crash\n[  99.1] CPU: 0 PID: 1 Comm: sh\n")
	s.guest.Down()
	if p := s.lab.power; p.stays != nil && p.stays(s) {
		s.console("[  99.2] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\n")
		return
	}
	s.console("[  99.2] Rebooting in 1 seconds..\n")
	<-time.After(time.Duration(max(1, s.lab.power.setting)) * time.Second)
	s.console(loading + kernel)
	s.reboot()
}

func rebooting(s scenario.Scenario, modes ...scenario.Reboot) scenario.Scenario {
	s.Reboot = modes
	return s
}

func boots(result report.Result) []string {
	var list []string
	for _, b := range result.Boots {
		text := b.Mode + " " + b.Stage
		if b.Canary != nil {
			text += " " + b.Canary.Synced + " " + b.Canary.Unsynced
		}
		list = append(list, text)
	}
	return list
}

func TestEachWayToRebootIsJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		s := rebooting(scripted("good"), scenario.RebootClean, scenario.RebootPowerCut, scenario.RebootPanic)
		result := lab.run(s)
		if result.Outcome != verdict.Pass || len(result.Findings) > 0 {
			t.Fatalf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
		}
		if diff := cmp.Diff([]string{"start ready", "clean ready", "power-cut ready kept lost", "panic ready"}, boots(result)); diff != "" {
			t.Errorf("boots (-want +got):\n%s", diff)
		}
		for _, name := range []string{"facts/reboot-power-cut.json", "facts/control-power-cut.json", "power-cut/reboot-power-cut.log"} {
			if _, err := os.Stat(filepath.Join(result.RunDir, name)); err != nil {
				t.Errorf("evidence is missing: %v", err)
			}
		}
		result = lab.run(s)
		if n := strings.Count(phases(result), "control:cached"); n != 3 {
			t.Errorf("the second run learns the controls anew: %s", phases(result))
		}
	})
}

func TestWhatOnlyAPowerCutBreaksIsTheWorkOfThePatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["bad"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		cut := map[string]bool{}
		lab.power.onCut = func(s *server) { cut[s.spec.Name] = true }
		lab.onReboot = func(s *server) {
			if s.patched && cut[s.spec.Name] {
				s.set("nginx.service", "active", "failed")
			}
		}
		result := lab.run(rebooting(scripted("bad"), scenario.RebootClean, scenario.RebootPowerCut))
		if got := ids(result); result.Outcome != verdict.Regression || !slices.Equal(got, []string{"PL101 reboot bad nginx.service"}) {
			t.Fatalf("outcome %s (%s), findings %v", result.Outcome, result.Reason, got)
		}
		f := result.Findings[0]
		if f.Mode != "power-cut" || len(f.Evidence) == 0 || f.Evidence[0].File != "facts/reboot-power-cut.json" {
			t.Errorf("mode %q, evidence %v", f.Mode, f.Evidence)
		}
	})
}

func TestWhatAPowerCutBreaksWithoutThePatchIsOldRotOfPowerCutsAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		disabled bool // by the patch
		outcome  verdict.Outcome
		findings []string
	}{
		"harmless": {false, verdict.Pass, []string{"PL108   nginx.service"}},
		"disabled": {true, verdict.Regression, []string{"PL101 reboot patch nginx.service", "PL108   nginx.service"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				lab.onApply["patch"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
				cut := map[string]bool{}
				lab.power.onCut = func(s *server) { cut[s.spec.Name] = true }
				lab.onReboot = func(s *server) {
					if cut[s.spec.Name] || s.patched && tt.disabled {
						s.set("nginx.service", "active", "failed")
					}
				}
				result := lab.run(rebooting(scripted("patch"), scenario.RebootClean, scenario.RebootPowerCut))
				if diff := cmp.Diff(tt.findings, ids(result)); diff != "" || result.Outcome != tt.outcome {
					t.Errorf("outcome %s (%s), findings (-want +got):\n%s", result.Outcome, result.Reason, diff)
				}
			})
		})
	}
}

func TestTheCanaryTellsWhatAPowerCutWasLike(t *testing.T) {
	tests := map[string]struct {
		power   power
		outcome verdict.Outcome
		boot    string
		why     string // in the boot, or the run's reason
	}{
		"as it should be":                    {power{}, verdict.Pass, "power-cut ready kept lost", ""},
		"the lab lost what was flushed":      {power{syncedIs: report.Lost, mounted: "/dev/vda1 ext4 rw,relatime"}, verdict.Testbed, "", "the lab lost what the guest had flushed"},
		"the guest does not flush":           {power{syncedIs: report.Lost, mounted: "/dev/vda1 ext4 rw,nobarrier"}, verdict.Pass, "power-cut ready lost lost", "nobarrier"},
		"what was not flushed is there":      {power{writtenIs: report.Kept}, verdict.Pass, "power-cut ready kept kept", "milder"},
		"there is no place for the canary":   {power{noPlace: true}, verdict.Pass, "power-cut ready  ", "no disk"},
		"the guest talks about other things": {power{syncedIs: "perhaps"}, verdict.Pass, "power-cut ready  lost", "does not say"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				lab.power = tt.power
				lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
				result := lab.run(rebooting(scripted("good"), scenario.RebootPowerCut))
				if result.Outcome != tt.outcome || len(result.Findings) > 0 {
					t.Fatalf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
				}
				said := result.Reason
				if tt.boot != "" {
					if got := boots(result); !slices.Equal(got, []string{"start ready", tt.boot}) {
						t.Fatalf("boots %q", got)
					}
					said = result.Boots[1].Canary.Why
				}
				if !strings.Contains(said, tt.why) || tt.why == "" && said != "" {
					t.Errorf("it says %q, want %q", said, tt.why)
				}
			})
		})
	}
}

func TestAFailedBootAfterAPowerCutIsDiagnosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["bad"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		lab.bootsAgain = func(s *server) bool {
			s.console(loading + kernel)
			if s.patched {
				s.console("[ 2.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n")
			}
			return !s.patched
		}
		result := lab.run(rebooting(scripted("bad"), scenario.RebootPowerCut))
		if got := ids(result); result.Outcome != verdict.BootFailed || !slices.Equal(got, []string{"PL706 reboot bad power-cut"}) {
			t.Errorf("outcome %s (%s), findings %v", result.Outcome, result.Reason, got)
		}
		if result.Findings[0].Mode != "power-cut" {
			t.Errorf("the finding's mode is %q", result.Findings[0].Mode)
		}
	})
}

func TestAGuestThatStaysInItsPanicIsReset(t *testing.T) {
	patched := func(s *server) bool { return s.patched }
	always := func(*server) bool { return true }
	for name, tt := range map[string]struct {
		stays   func(*server) bool
		outcome verdict.Outcome
		want    []string
	}{
		"it resets itself":             {nil, verdict.Pass, nil},
		"it stays since the patch":     {patched, verdict.Regression, []string{"PL714 reboot  panic old=false"}},
		"it stays, as without a patch": {always, verdict.Pass, []string{"PL714 reboot  panic old=true"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				lab.power.stays, lab.power.setting = tt.stays, 200
				lab.onApply["patch"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
				result := lab.run(rebooting(scripted("patch"), scenario.RebootPanic))
				var got []string
				for i, id := range ids(result) {
					got = append(got, fmt.Sprintf("%s old=%v", id, result.Findings[i].OldRot))
				}
				if diff := cmp.Diff(tt.want, got); diff != "" || result.Outcome != tt.outcome {
					t.Errorf("outcome %s (%s), findings (-want +got):\n%s", result.Outcome, result.Reason, diff)
				}
				if diff := cmp.Diff([]string{"start ready", "panic ready"}, boots(result)); diff != "" {
					t.Errorf("boots (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAGuestThatDoesNotPanicIsTheLabs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.power.deafTo = true
		result, err := harness.Run(t.Context(), lab.lab(), rebooting(scripted("good"), scenario.RebootPanic), lab.options())
		if err != nil || result.Outcome != verdict.Testbed || !strings.Contains(result.Reason, "shows no panic") {
			t.Errorf("outcome %s (%s), %v", result.Outcome, result.Reason, err)
		}
		lab.checkNothingLeft()
	})
}
