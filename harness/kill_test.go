package harness_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/gc"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// blow ends a run at one moment.
type blow struct {
	lab      *lab
	scenario scenario.Scenario
	shared   harness.Lab
	options  harness.RunOptions
	offset   time.Duration // of the run's clock
	strike   func()
}

func (b *blow) onEvent(kind progress.Kind, step, text string) {
	b.options.Sink = sinkFunc(func(e progress.Event) {
		if e.Kind == kind && e.Step == step && strings.HasPrefix(e.Text, text) {
			b.strike()
		}
	})
}

type sinkFunc func(progress.Event)

func (f sinkFunc) Emit(e progress.Event) { f(e) }

// onGuest strikes while a guest does something, the given or the patched one only.
func (b *blow) onGuest(of *func(*server), purpose string) {
	before := *of
	*of = func(s *server) {
		if before != nil {
			before(s)
		}
		if strings.HasSuffix(s.spec.Name, "-"+purpose) {
			b.strike()
		}
	}
}

func (b *blow) onDestroy(purpose string) {
	before := b.lab.driver.OnDestroy
	b.lab.driver.OnDestroy = func(spec hypervisor.DomainSpec) {
		before(spec)
		if strings.HasSuffix(spec.Name, "-"+purpose) {
			b.strike()
		}
	}
}

// moment is a point in a run.
type moment struct {
	name    string
	arrange func(*blow)
}

// moments are at least one for every phase of a run.
func moments() []moment {
	begins := func(step string) func(*blow) {
		return func(b *blow) { b.onEvent(progress.Start, step, "") }
	}
	applies := func(increment string) func(*blow) {
		return func(b *blow) {
			before := b.lab.onApply[increment]
			b.lab.onApply[increment] = func(s *server) { before(s); b.strike() }
		}
	}
	warmly := func(arrange func(*blow)) func(*blow) {
		return func(b *blow) {
			b.lab.warm, b.options.Cold = true, false
			arrange(b)
		}
	}
	return []moment{
		{"host", func(b *blow) {
			open := b.shared.Host
			b.shared.Host = func(ctx context.Context) (harness.Host, error) { b.strike(); return open(ctx) }
		}},
		{"image", func(b *blow) {
			open := b.shared.Image
			b.shared.Image = func(ctx context.Context, name string) (image.Image, func() error, error) {
				opened, release, err := open(ctx, name)
				b.strike()
				return opened, release, err
			}
		}},
		{"given", begins("prepare given")},
		{"given: install", applies("given")},
		{"given: teardown", func(b *blow) { b.onDestroy("given") }},
		{"template", warmly(begins("template"))},
		{"template: saved", warmly(func(b *blow) { b.onDestroy("template") })},
		{"template: kept", warmly(func(b *blow) { b.onEvent(progress.Done, "template", "") })},
		{"baseline", begins("baseline")},
		{"baseline: the guest goes on", warmly(func(b *blow) { b.onGuest(&b.lab.onWake, "baseline") })},
		{"control", begins("control")},
		{"control: reboot", func(b *blow) { b.onGuest(&b.lab.onReboot, "baseline") }},
		{"control: teardown", func(b *blow) { b.onDestroy("baseline") }},
		{"prepare", begins("prepare")},
		{"prepare: the guest goes on", warmly(func(b *blow) { b.onGuest(&b.lab.onWake, "run") })},
		{"checkpoint", func(b *blow) { b.options.Keep = true; b.onEvent(progress.Start, "checkpoint bad", "") }},
		{"checkpoint: taken", func(b *blow) {
			b.options.Keep = true
			before := b.lab.driver.OnCheckpoint
			b.lab.driver.OnCheckpoint = func(spec hypervisor.DomainSpec, name string) { before(spec, name); b.strike() }
		}},
		{"stage", begins("apply bad")},
		{"staged", func(b *blow) { b.onEvent(progress.Note, "apply bad", "staged") }},
		{"install", applies("bad")},
		{"settle", begins("settle bad")},
		{"settle: restart", func(b *blow) { b.onGuest(&b.lab.onRestart, "run") }},
		{"compare", begins("compare")},
		{"reboot", begins("reboot")},
		{"reboot: the guest is off", func(b *blow) { b.onGuest(&b.lab.onReboot, "run") }},
		{"reboot: over", func(b *blow) { b.onEvent(progress.Done, "reboot", "") }},
		{"control power cut", begins("control power-cut")},
		{"control power cut: the power is off", func(b *blow) { b.onGuest(&b.lab.power.onCut, "control-power-cut") }},
		{"control power cut: teardown", func(b *blow) { b.onDestroy("control-power-cut") }},
		{"power cut", begins("reboot power-cut")},
		{"power cut: the canary is written", func(b *blow) { b.onGuest(&b.lab.power.onLay, "run") }},
		{"power cut: the power is off", func(b *blow) { b.onGuest(&b.lab.power.onCut, "run") }},
		{"power cut: the guest boots", func(b *blow) {
			before := b.lab.bootsAgain
			b.lab.bootsAgain = func(s *server) bool {
				if strings.HasSuffix(s.spec.Name, "-run") && s.cuts > 0 {
					b.strike()
				}
				return before(s)
			}
		}},
		{"power cut: the canary is read", func(b *blow) { b.onEvent(progress.Note, "reboot power-cut", "power cut: ") }},
		{"power cut: over", func(b *blow) { b.onEvent(progress.Done, "reboot power-cut", "") }},
		{"teardown", func(b *blow) { b.onDestroy("run") }},
	}
}

// momentsAfterDeath are those of a run whose candidate keeps the guest from coming up again.
func momentsAfterDeath() []moment {
	dead := func(arrange func(*blow)) func(*blow) {
		return func(b *blow) {
			again, strike := b.lab.bootsAgain, b.strike
			afterPatch(b.lab, panics)
			b.lab.dead = aDisk()
			b.shared.Kit = b.lab.kit()
			b.strike = func() {
				b.lab.bootsAgain = again // the next run's guest comes up
				strike()
			}
			arrange(b)
		}
	}
	return []moment{
		{"helper: the dead guest is off", dead(func(b *blow) { b.onDestroy("run") })},
		{"helper: it is on", dead(func(b *blow) {
			before := b.lab.driver.OnStart
			b.lab.driver.OnStart = func(spec hypervisor.DomainSpec) error {
				defer func() {
					if spec.Kernel != "" {
						b.strike()
					}
				}()
				return before(spec)
			}
		})},
		{"helper: it reads", dead(func(b *blow) {
			b.lab.dead.run = func(string) guest.Result { b.strike(); return guest.Result{} }
		})},
		{"helper: its disk goes", dead(func(b *blow) { b.onDestroy("helper") })},
	}
}

// regressing is a lab whose candidate goes through every phase and has a known verdict.
func regressing(l *lab) scenario.Scenario {
	const stale = "nginx.service /usr/sbin/nginx /usr/lib/libssl.so.3"
	l.onApply["given"] = func(*server) { l.given = true }
	l.onApply["bad"] = func(s *server) {
		s.upgrade("libssl3:amd64", "2")
		s.put("stale", stale)
		s.set("nginx.service", "enabled", "disabled")
	}
	l.onRestart = func(s *server) { s.drop(stale) }
	return rebooting(withGiven(scripted("bad")), scenario.RebootClean, scenario.RebootPowerCut)
}

func requireTheKnownVerdict(t *testing.T, result report.Result) {
	t.Helper()
	if diff := cmp.Diff([]string{"PL103 apply bad nginx.service"}, ids(result)); diff != "" || result.Outcome != verdict.Regression {
		t.Errorf("the next run gives %s (%s), findings (-want +got):\n%s", result.Outcome, result.Reason, diff)
	}
}

func TestAStoppedRunLeavesNothingWhereverItIs(t *testing.T) {
	for _, m := range append(moments(), momentsAfterDeath()...) {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				s := regressing(lab)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				b := &blow{lab: lab, shared: lab.lab(), options: lab.options(), strike: func() { cancel(errors.New("Ctrl-C")) }}
				m.arrange(b)
				result, err := harness.Run(ctx, b.shared, s, b.options)
				if err != nil || result.Outcome != verdict.Interrupted {
					t.Errorf("outcome %s (%s), error %v", result.Outcome, result.Reason, err)
				}
				lab.checkNothingLeft()
				requireNothingHalf(t, lab)
				regressing(lab)
				requireTheKnownVerdict(t, lab.run(s))
			})
		})
	}
}

// The environment of [TestPlaysTheVictim].
const (
	victimDir    = "PATCHLAB_TEST_VICTIM_DIR"
	victimMoment = "PATCHLAB_TEST_VICTIM_MOMENT"
)

// TestPlaysTheVictim is the process that [TestAKilledRunLeavesNothingBehindAfterGC] starts: it kills itself in mid-run, as the
// kernel kills one for kill -9.
func TestPlaysTheVictim(t *testing.T) {
	dir := os.Getenv(victimDir)
	if dir == "" {
		return
	}
	synctest.Test(t, func(t *testing.T) {
		lab := newLabIn(t, dir)
		s := regressing(lab)
		b := &blow{lab: lab, shared: lab.lab(), options: lab.options(), strike: func() {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // nothing happens any more, not even while the signal is on its way
		}}
		for _, m := range append(moments(), momentsAfterDeath()...) {
			if m.name == os.Getenv(victimMoment) {
				m.arrange(b)
			}
		}
		result, err := harness.Run(t.Context(), b.shared, s, b.options)
		t.Errorf("it ended by itself: %s, %v", result.Outcome, err)
	})
}

func TestAKilledRunLeavesNothingBehindAfterGC(t *testing.T) {
	t.Parallel()
	for _, m := range append(moments(), momentsAfterDeath()...) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPlaysTheVictim$")
			victim.Env = append(os.Environ(), victimDir+"="+dir, victimMoment+"="+m.name)
			output, err := victim.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || !killed(exit) {
				t.Fatalf("the victim ended with %v: %s", err, output)
			}
			if content, err := os.ReadFile(filepath.Join(dir, "image.qcow2")); string(content) != "disk" || err != nil {
				t.Errorf("the image is %q, %v", content, err)
			}
			synctest.Test(t, func(t *testing.T) {
				lab := newLabIn(t, dir)
				sweep(t, lab)
				lab.checkNothingLeft()
				requireNothingHalf(t, lab)
				requireTheKnownVerdict(t, lab.run(regressing(lab)))
				requireNothingHalf(t, lab)
			})
		})
	}
}

func killed(exit *exec.ExitError) bool {
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signal() == syscall.SIGKILL
}

// sweep is what `patchlab gc --kept` does.
func sweep(t *testing.T, l *lab) {
	t.Helper()
	_, err := gc.Sweep(t.Context(), gc.Options{Drivers: []hypervisor.Driver{l.driver}, RunsDir: filepath.Join(l.dir, "runs"), Kept: true})
	if err != nil {
		t.Error(err)
	}
	for _, store := range []*image.Store{
		harness.GivenStore(filepath.Join(l.dir, "cache")), harness.TemplateStore(filepath.Join(l.dir, "cache")),
	} {
		if _, err := store.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// requireNothingHalf looks for what nobody will finish.
func requireNothingHalf(t *testing.T, l *lab) {
	t.Helper()
	err := filepath.WalkDir(l.dir, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		half := strings.HasSuffix(name, ".new") || strings.HasPrefix(name, ".new-") || strings.HasPrefix(name, "part-") ||
			strings.HasSuffix(name, ".overlay") || strings.Contains(path, "/.build/") && entry.IsDir()
		if half {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
