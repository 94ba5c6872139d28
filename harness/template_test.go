package harness_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

// newWarmLab lets clones go on from a template.
func newWarmLab(t *testing.T) *lab {
	t.Helper()
	l := newLab(t)
	l.warm = true
	l.onApply["openssl"] = func(s *server) { s.upgrade("libssl3:amd64", "2") }
	return l
}

// templates lists the directories of the templates that are there.
func (l *lab) templates() []string {
	l.t.Helper()
	found, err := filepath.Glob(filepath.Join(harness.TemplateStore(filepath.Join(l.dir, "cache")).Dir, "debian-12-web", "*"))
	if err != nil {
		l.t.Fatal(err)
	}
	return found
}

func statusOf(result report.Result, phase string) string {
	for _, p := range result.Phases {
		if p.Name == phase {
			return p.Status
		}
	}
	return "not there"
}

// console reads one of a run's consoles.
func console(t *testing.T, result report.Result, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(result.RunDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestClonesGoOnFromATemplate(t *testing.T) {
	t.Parallel()
	l := newWarmLab(t)
	first := l.run(scripted("openssl"))
	if first.Clones.Start != "warm" || statusOf(first, "template") != "done" || first.Outcome != verdict.Pass {
		t.Errorf("the first run: %+v, template %s, %s", first.Clones, statusOf(first, "template"), first.Outcome)
	}
	second := l.run(scripted("openssl"))
	if second.Clones.Start != "warm" || statusOf(second, "template") != "cached" || len(l.templates()) != 1 {
		t.Errorf("the second run: %+v, template %s, of which there are %q", second.Clones, statusOf(second, "template"), l.templates())
	}
	for name, boots := range map[string]int{"template-console.log": 1, "baseline-console.log": 0, "console.log": 0} {
		if got := strings.Count(console(t, first, name), fake.Greeting); got != boots {
			t.Errorf("%s shows %d boots by power, want %d", name, got, boots)
		}
	}
	if second.Boots[0].Mode != "resume" {
		t.Errorf("the first of the boots is told as %+v", second.Boots[0])
	}
}

func TestTheClockOfAClonesGuestIsSet(t *testing.T) {
	t.Parallel()
	l := newWarmLab(t)
	l.run(scripted("openssl"))
	for name, s := range l.servers {
		want := 1
		if strings.HasSuffix(name, "-template") {
			want = 0 // it has just been booted
		}
		got := 0
		for _, command := range s.guest.Commands() {
			if subcommand("clock")(command) {
				got++
			}
		}
		if got != want {
			t.Errorf("the clock of %s was set %d times, want %d", name, got, want)
		}
	}
}

func TestADamagedTemplateIsMadeAnew(t *testing.T) {
	t.Parallel()
	for what, harm := range map[string]func(path string) error{
		"a flipped bit": func(path string) error {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content[len(content)/2] ^= 1
			return os.WriteFile(path, content, 0o600)
		},
		"truncation": func(path string) error { return os.Truncate(path, 1) },
		"loss":       os.Remove,
	} {
		for _, file := range []string{"state", "key"} {
			t.Run(what+" of the "+file, func(t *testing.T) {
				t.Parallel()
				l := newWarmLab(t)
				l.run(scripted("openssl"))
				if err := harm(filepath.Join(l.templates()[0], file)); err != nil {
					t.Fatal(err)
				}
				again := l.run(scripted("openssl"))
				if again.Clones.Start != "warm" || statusOf(again, "template") != "done" || len(l.templates()) != 1 {
					t.Errorf("%+v, template %s, of which there are %q", again.Clones, statusOf(again, "template"), l.templates())
				}
			})
		}
	}
}

func TestACloneThatCannotGoOnIsBooted(t *testing.T) {
	t.Parallel()
	denied := errors.New("permission denied by a profile")
	for what, arrange := range map[string]func(*lab){
		"define is refused":        func(l *lab) { l.driver.FailNext(fake.Define, denied) },
		"start is refused":         func(l *lab) { l.driver.FailNext(fake.Start, denied) },
		"its port is out of reach": func(l *lab) { l.driver.FailNext(fake.Channel, denied) },
		"its guest refuses to have its clock set": func(l *lab) {
			l.onUp = func(s *server) {
				if s.spec.Resume.State != "" {
					s.guest.OnMatch(subcommand("clock"), guesttest.Exits(1, "", denied.Error()))
				}
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l := newWarmLab(t)
			l.run(scripted("openssl")) // template and baseline are there
			arrange(l)
			result := l.run(scripted("openssl"))
			if result.Outcome != verdict.Pass || result.Clones.Start != "cold" || !strings.Contains(result.Clones.Why, denied.Error()) {
				t.Errorf("%s, %+v", result.Outcome, result.Clones)
			}
			if strings.Count(console(t, result, "console.log"), fake.Greeting) != 1 {
				t.Error("the clone was not booted")
			}
		})
	}
}

func TestWhereNothingCanBeSavedClonesAreBooted(t *testing.T) {
	t.Parallel()
	for what, arrange := range map[string]func(*lab){
		"no port": func(l *lab) {
			l.onUp = func(s *server) {
				s.guest.OnPrefix("test -c /dev/virtio-ports/", guesttest.Exits(1, "", "no such file"))
			}
		},
		"somebody stays":  func(l *lab) { l.stays = true },
		"save fails":      func(l *lab) { l.driver.FailNext(fake.Save, errors.New("no space left")) },
		"it is asked for": func(l *lab) { l.warm = false },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l := newWarmLab(t)
			arrange(l)
			result := l.run(scripted("openssl"))
			if result.Outcome != verdict.Pass || result.Clones.Start != "cold" || result.Clones.Why == "" || len(l.templates()) != 0 {
				t.Errorf("%s, %+v, templates %q", result.Outcome, result.Clones, l.templates())
			}
			left, err := filepath.Glob(filepath.Join(l.dir, "cache", "templates", ".build", "*", "*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
		})
	}
}

func TestATrialLeavesNothingButTheTemplate(t *testing.T) {
	t.Parallel()
	l := newWarmLab(t)
	idled := ""
	sink := l.options().Sink
	trial, err := harness.TryClone(t.Context(), l.lab(), "debian-12-web", harness.TrialOptions{
		Sink: sink, Captures: 2, FactsFirst: true, Idle: func(ctx context.Context, domain string) error {
			idled = domain
			_, err := l.driver.Lookup(ctx, domain)
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if trial.Clones.Start != "warm" || len(trial.Captures) != 2 || trial.Facts == 0 || !strings.HasSuffix(idled, "-run") {
		t.Errorf("%+v, idle %q", trial, idled)
	}
	l.checkNothingLeft()
	runs, err := os.ReadDir(filepath.Join(l.dir, "runs"))
	if err != nil || len(runs) != 0 || len(l.templates()) != 1 {
		t.Errorf("left: runs %v, templates %q (%v)", runs, l.templates(), err)
	}
	again, err := harness.TryClone(t.Context(), l.lab(), "debian-12-web", harness.TrialOptions{Sink: sink, Cold: true})
	if err != nil || again.Clones.Start != "cold" || again.Template != 0 {
		t.Errorf("a cold one: %+v, %v", again, err)
	}
}

func TestAPatchThatEndsTheWaitingProbeDoesNotStopTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // nobody waits for real until it is given up
		l := newWarmLab(t)
		l.onApply["openssl"] = func(s *server) {
			s.upgrade("libssl3:amd64", "2")
			s.deaf = true
		}
		result := l.run(scripted("openssl"))
		if result.Outcome != verdict.Pass || result.Clones.Start != "warm" {
			t.Errorf("%s (%s), %+v", result.Outcome, result.Reason, result.Clones)
		}
	})
}

func TestTheProbeWaitsAtThePortThatDomainsHave(t *testing.T) {
	t.Parallel()
	if probe.WaitChannel != hypervisor.Channel {
		t.Errorf("the probe waits at %s, domains have %s", probe.WaitChannel, hypervisor.Channel)
	}
}

func TestWhatAKeptGuestStandsOnStays(t *testing.T) {
	t.Parallel()
	l := newWarmLab(t)
	options := l.options()
	options.Keep = true
	result, err := harness.Run(t.Context(), l.lab(), scripted("openssl"), options)
	if err != nil {
		t.Fatal(err)
	}
	store := harness.TemplateStore(filepath.Join(l.dir, "cache"))
	if swept, err := store.SweepDerived(t.Context()); err != nil || len(swept) > 0 {
		t.Errorf("below a kept guest %q is swept, error %v", swept, err)
	}
	if err := os.Remove(filepath.Join(result.RunDir, rundir.Kept)); err != nil { // as gc does with the guest
		t.Fatal(err)
	}
	if swept, err := store.SweepDerived(t.Context()); err != nil || len(swept) != 1 {
		t.Errorf("when the guest is gone %q is swept, error %v, want the template", swept, err)
	}
}
