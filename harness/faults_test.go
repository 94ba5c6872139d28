package harness_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// The tests of this file let the lab fail while a candidate is tested that is known to be harmless. Whatever happens, the
// candidate is not blamed, nothing is left, and the next run is right. docs/faults.md lists them.

// harmless goes through every phase, and passes.
func harmless(l *lab) scenario.Scenario {
	s := regressing(l)
	const stale = "nginx.service /usr/sbin/nginx /usr/lib/libssl.so.3"
	l.onApply["bad"] = func(s *server) {
		s.upgrade("libssl3:amd64", "2")
		s.put("stale", stale)
	}
	return s
}

// running are the guests that are on.
func (l *lab) running() []*server {
	owned, err := l.driver.Domains(context.WithoutCancel(l.t.Context()))
	if err != nil {
		l.t.Error(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var on []*server
	for _, o := range owned {
		if o.State == hypervisor.StateRunning {
			on = append(on, l.servers[o.Name])
		}
	}
	return on
}

// suddenFault may come at any moment.
type suddenFault struct {
	name   string
	strike func(*lab)
}

func suddenFaults() []suddenFault {
	return []suddenFault{
		{"QEMU is killed", func(l *lab) {
			for _, s := range l.running() {
				s.kill()
			}
		}},
		{"the ssh connection is cut", func(l *lab) {
			for _, s := range l.running() {
				s.guest.Cut()
			}
		}},
		{"the host's disk is full and QEMU pauses the guest", func(l *lab) {
			for _, s := range l.running() {
				s.guest.Down()
				if err := l.driver.Pause(s.spec.Name); err != nil {
					l.t.Error(err)
				}
			}
		}},
		{"libvirtd is gone", func(l *lab) { l.driver.Break(errors.New("the connection to libvirt was closed")) }},
	}
}

func TestAFaultOfTheLabAtAnyMomentIsNotThePatchs(t *testing.T) {
	for _, fault := range suddenFaults() {
		for _, m := range moments() {
			t.Run(fault.name+"/"+m.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					lab := newLab(t)
					s := harmless(lab)
					b := &blow{lab: lab, shared: lab.lab(), options: lab.options()}
					var once sync.Once
					b.strike = func() { once.Do(func() { fault.strike(lab) }) }
					m.arrange(b)
					result, err := harness.Run(t.Context(), b.shared, s, b.options)
					requireNobodyBlamed(t, result, err)
					lab.driver.Break(nil)
					sweep(t, lab) // what could not be removed then
					lab.checkNothingLeft()
					requireNothingHalf(t, lab)
					s = harmless(lab)
					if next := lab.run(s); next.Outcome != verdict.Pass {
						t.Errorf("the next run ends with %s (%s), findings %v", next.Outcome, next.Reason, ids(next))
					}
				})
			})
		}
	}
}

func requireNobodyBlamed(t *testing.T, result report.Result, err error) {
	t.Helper()
	if err != nil || result.Outcome != verdict.Testbed && result.Outcome != verdict.Pass {
		t.Errorf("outcome %s (%s), error %v", result.Outcome, result.Reason, err)
	}
	for _, f := range result.Findings {
		if f.Blamed() {
			t.Errorf("the candidate is blamed: %s %s (%s)", f.ID, f.Title, f.Cause)
		}
	}
}

// localFault has its own place.
type localFault struct {
	name    string
	arrange func(*blow)
	want    verdict.Outcome
	reason  string // part of it
}

func localFaults() []localFault {
	refuses := func(op fake.Op, why string) func(*blow) {
		return func(b *blow) { b.lab.driver.FailNext(op, errors.New(why)) }
	}
	return []localFault{
		{"there is no hypervisor", func(b *blow) { b.lab.noHost = errors.New("libvirtd is not installed"); b.shared = b.lab.lab() }, verdict.Testbed, "libvirtd is not installed"},
		{"the hypervisor does not tell its version", refuses(fake.Version, "the connection was closed"), verdict.Testbed, "asking for the hypervisor's version"},
		{"there is no room for an overlay", refuses(fake.Define, "no space left on device"), verdict.Testbed, "no space left on device"},
		{"there is no memory for a guest", refuses(fake.Start, "cannot allocate memory"), verdict.Testbed, "cannot allocate memory"},
		{"no port is free for a guest", refuses(fake.Address, "address already in use"), verdict.Testbed, "address already in use"},
		{"the power cannot be cut", refuses(fake.CutPower, "no such command"), verdict.Testbed, "no such command"},
		{"the power does not come back after it was cut", func(b *blow) {
			b.onGuest(&b.lab.power.onCut, "run")
			b.strike = func() { b.lab.driver.FailNext(fake.Start, errors.New("cannot allocate memory")) }
		}, verdict.Testbed, "giving the clone its power back"},
		{"the host loses what the guest had flushed before a power cut", func(b *blow) {
			b.onGuest(&b.lab.power.onCut, "run")
			b.strike = func() { b.lab.power.syncedIs = report.Lost }
		}, verdict.Testbed, "the lab lost what the guest had flushed"},
		{"a clone cannot be removed", refuses(fake.Undefine, "device or resource busy"), verdict.Testbed, "removing the clone"},
		{"libvirtd hiccups", func(b *blow) {
			b.onEvent(progress.Note, "apply bad", "staged")
			b.strike = func() {
				for range 3 {
					b.lab.driver.FailNext(fake.State, errors.New("try again"))
				}
			}
		}, verdict.Pass, ""},
		{"the image was damaged since the last run", func(b *blow) {
			b.shared.Image = func(context.Context, string) (image.Image, func() error, error) {
				return image.Image{}, nil, &image.DamagedError{Name: "debian-12-web", Disk: "/disk", Reason: "has another SHA-256 than when it was built"}
			}
		}, verdict.Testbed, "another SHA-256"},
		{"no key can be made", func(b *blow) {
			b.shared.NewAccess = func(image.Access, []byte) (harness.Access, error) {
				return harness.Access{}, errors.New("no randomness")
			}
		}, verdict.Testbed, "making the clone's key"},
		{"another machine answers in the guest's place", func(b *blow) {
			b.onEvent(progress.Start, "reboot", "")
			b.strike = func() { b.lab.dialFault = fmt.Errorf("connecting: %w", sshguest.ErrHostKey) }
		}, verdict.Testbed, "another host key"},
		{"the probe is cut off on its way into the guest", func(b *blow) {
			b.onGuest(&b.lab.onReboot, "run")
			b.strike = func() {
				for _, s := range b.lab.running() {
					s.guest.OnPrefix("test -x /run/patchlab/probe-", func(context.Context, guest.Command) guest.Result {
						s.guest.Cut()
						return guest.Result{}
					})
				}
			}
		}, verdict.Testbed, "looking for the probe"},
		{"the probe's answer is cut off", garbled(`{"probe":"1","facts":[{"kind":"un`), verdict.Testbed, "not the probe's"},
		{"the probe is killed for want of memory", func(b *blow) {
			b.onEvent(progress.Note, "apply bad", "staged")
			b.strike = func() {
				for _, s := range b.lab.running() {
					s.guest.OnMatch(subcommand("facts"), guesttest.Exits(137, "", "Killed\n"))
				}
			}
		}, verdict.Testbed, "exited with 137"},
		{"the process of the suites is killed", func(b *blow) {
			b.lab.suites.err = errors.New("the suites of baseline ended without a report: signal: killed")
		}, verdict.Testbed, "signal: killed"},
		{"a suite cannot ask the guest", func(b *blow) {
			b.lab.suites.failAfterPatch = true
			b.lab.suites.err = fmt.Errorf("the suites could not ask the guest: %w", guest.ErrLost)
		}, verdict.Testbed, "could not ask the guest"},
		{"the payload is gone when it is wanted", func(b *blow) {
			b.onEvent(progress.Start, "apply bad", "")
			b.strike = func() {
				if err := os.Remove(filepath.Join(b.scenario.Dir, "apply.sh")); err != nil {
					b.lab.t.Error(err)
				}
			}
		}, verdict.Testbed, "reading the payload"},
		{"evidence cannot be written", func(b *blow) {
			b.onEvent(progress.Note, "apply bad", "staged")
			b.strike = func() { b.removeOfRun("facts") }
		}, verdict.Testbed, "writing evidence"},
		{"the verdict cannot be written", func(b *blow) {
			b.onDestroy("run")
			b.strike = func() { b.obstruct("result.json.new") }
		}, verdict.Testbed, "writing evidence"},
		{"the console is lost on the host and the guest is silent", func(b *blow) {
			b.lab.bootsAgain = func(s *server) bool { return !s.patched || s.spec.Name != b.runDomain() }
			b.onEvent(progress.Start, "reboot", "")
			b.strike = func() { b.removeOfRun("console.log") }
		}, verdict.Testbed, "console was lost"},
		{"the host's clock jumps forwards", func(b *blow) { b.clock(30 * 24 * time.Hour) }, verdict.Pass, ""},
		{"the host's clock jumps backwards", func(b *blow) { b.clock(-30 * 24 * time.Hour) }, verdict.Pass, ""},
		{"the host's clock jumps while the control boots", func(b *blow) {
			b.clock(0)
			b.onGuest(&b.lab.onReboot, "baseline")
			b.strike = func() { b.jump(-time.Hour) }
		}, verdict.Pass, ""},
	}
}

// garbled makes the probe say something else once the guest is patched.
func garbled(answer string) func(*blow) {
	return func(b *blow) {
		b.onEvent(progress.Note, "apply bad", "staged")
		b.strike = func() {
			for _, s := range b.lab.running() {
				s.guest.OnMatch(subcommand("facts"), guesttest.Says(answer))
			}
		}
	}
}

func (b *blow) runDir() string {
	dirs, err := filepath.Glob(filepath.Join(b.lab.dir, "runs", "*"))
	if err != nil || len(dirs) != 1 {
		b.lab.t.Fatalf("run directories %v, %v", dirs, err)
	}
	return dirs[0]
}

func (b *blow) runDomain() string { return "patchlab-" + filepath.Base(b.runDir()) + "-run" }

func (b *blow) removeOfRun(name string) {
	if err := os.RemoveAll(filepath.Join(b.runDir(), name)); err != nil {
		b.lab.t.Error(err)
	}
}

// obstruct puts a directory where a file is to be written.
func (b *blow) obstruct(name string) {
	if err := os.MkdirAll(filepath.Join(b.runDir(), name), 0o755); err != nil {
		b.lab.t.Error(err)
	}
}

// clock gives the run a clock that is set while the increment installs. Unlike that of a process, which no change of the host's
// time reaches, it has nothing but the time of day.
func (b *blow) clock(jump time.Duration) {
	b.shared.Now = func() time.Time { return time.Now().Round(0).Add(b.offset) }
	b.onEvent(progress.Note, "apply bad", "staged")
	b.strike = func() { b.jump(jump) }
}

func (b *blow) jump(by time.Duration) { b.offset += by }

func TestAFaultOfTheLabEndsAsOne(t *testing.T) {
	for _, f := range localFaults() {
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				b := &blow{lab: lab, scenario: ownDir(t, harmless(lab)), shared: lab.lab(), options: lab.options()}
				b.strike = func() {}
				f.arrange(b)
				result, err := harness.Run(t.Context(), b.shared, b.scenario, b.options)
				requireNobodyBlamed(t, result, err)
				if result.Outcome != f.want || !strings.Contains(result.Reason, f.reason) {
					t.Errorf("outcome %s (%s), want %s (%s)", result.Outcome, result.Reason, f.want, f.reason)
				}
				sweep(t, lab)
				_ = os.Remove(filepath.Join(b.runDir(), "result.json.new")) // an obstruction
				lab.checkNothingLeft()
				requireNothingHalf(t, lab)
			})
		})
	}
}

// ownDir copies the scenario's directory, so that a test may change it.
func ownDir(t *testing.T, s scenario.Scenario) scenario.Scenario {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.Dir)); err != nil {
		t.Fatal(err)
	}
	s.Dir = dir
	return s
}

func TestARunDirectoryThatCannotBeMadeIsTheLabsFault(t *testing.T) {
	lab := newLab(t)
	shared := lab.lab()
	shared.RunsDir = filepath.Join(lab.dir, "image.qcow2") // a file
	result, err := harness.Run(t.Context(), shared, harmless(lab), lab.options())
	if err == nil || result.Outcome != verdict.Testbed || !strings.Contains(result.Reason, "making the run directory") {
		t.Errorf("outcome %s (%s), error %v", result.Outcome, result.Reason, err)
	}
}

// damages are what may have become of a cached baseline.
func damages() map[string]func([]byte) []byte {
	return map[string]func([]byte) []byte{
		"the cached baseline is cut off": func(content []byte) []byte { return content[:len(content)/2] },
		"the cached baseline is empty":   func([]byte) []byte { return nil },
		"a word of the cached baseline is another": func(content []byte) []byte {
			return bytes.Replace(content, []byte(`"enabled":"enabled"`), []byte(`"enabled":"disable"`), 1)
		},
	}
}

func TestADamagedBaselineIsLearnedAgain(t *testing.T) {
	for name, damage := range damages() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				lab.run(harmless(lab))
				locks, err := filepath.Glob(filepath.Join(harness.BaselineCache(filepath.Join(lab.dir, "cache")), "*.lock"))
				if err != nil || len(locks) != 2 {
					t.Fatalf("baselines and controls %v, %v", locks, err)
				}
				for _, lock := range locks {
					file := strings.TrimSuffix(lock, ".lock")
					content, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, damage(content), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				result := lab.run(harmless(lab))
				requireNobodyBlamed(t, result, nil)
				if got := phases(result); !strings.Contains(got, "baseline:done") || strings.Count(got, "control:done") != 2 {
					t.Errorf("the damaged baseline was believed: %s", got)
				}
			})
		})
	}
}

func TestOfRunsAtOnceOneLearnsTheBaseline(t *testing.T) {
	oneOfThree(t, false, "baseline:done", "another run is learning it")
}

func TestOfRunsAtOnceOneMakesTheTemplate(t *testing.T) {
	oneOfThree(t, true, "template:done", "another run is making it")
}

// oneOfThree has three runs at once do what only one of them needs to do.
func oneOfThree(t *testing.T, warm bool, done, said string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.warm = warm
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		shared := lab.lab()
		var mu sync.Mutex
		var notes []string
		options := lab.options()
		options.Sink = sinkFunc(func(e progress.Event) {
			mu.Lock()
			defer mu.Unlock()
			notes = append(notes, e.Text)
		})
		var all sync.WaitGroup
		results := make([]report.Result, 3)
		for i := range results {
			all.Go(func() {
				result, err := harness.Run(t.Context(), shared, scripted("good"), options)
				if err != nil {
					t.Error(err)
				}
				results[i] = result
			})
		}
		all.Wait()
		did := 0
		for _, r := range results {
			if r.Outcome != verdict.Pass {
				t.Errorf("outcome %s (%s), findings %v", r.Outcome, r.Reason, ids(r))
			}
			if strings.Contains(phases(r), done) {
				did++
			}
		}
		if did != 1 {
			t.Errorf("%s is said of %d runs, want 1", done, did)
		}
		if !slices.Contains(notes, said) {
			t.Error("nobody was told why the others wait")
		}
		lab.checkNothingLeft()
	})
}

var update = flag.Bool("update", false, "write docs/faults.md")

// TestEveryFaultIsListed holds docs/faults.md to the tests.
func TestEveryFaultIsListed(t *testing.T) {
	type row struct{ name, ends, test string }
	var rows []row
	for _, f := range suddenFaults() {
		rows = append(rows, row{fmt.Sprintf("%s, at each of %d moments", f.name, len(moments())), "testbed, or pass where it does not matter", "TestAFaultOfTheLabAtAnyMomentIsNotThePatchs"})
	}
	for _, f := range localFaults() {
		rows = append(rows, row{f.name, string(f.want), "TestAFaultOfTheLabEndsAsOne"})
	}
	for _, f := range mirrorFaults() {
		rows = append(rows, row{f.name, string(f.want), "TestAFaultOfTheMirrorIsNotThePatchs"})
	}
	for _, name := range slices.Sorted(maps.Keys(damages())) {
		rows = append(rows, row{name, "pass: it is learned again", "TestADamagedBaselineIsLearnedAgain"})
	}
	for _, name := range slices.Sorted(maps.Keys(fallbackFaults())) {
		rows = append(rows, row{name, "pass: the fallback is not proven", "TestAFaultOfTheLabWhileTheFallbackBootsChangesNoVerdict"})
	}
	for _, name := range slices.Sorted(maps.Keys(faultsBetween())) {
		ends := "pass or testbed: the fallback is not proven"
		if name == neverBackFromFallback {
			ends = "testbed"
		}
		rows = append(rows, row{name, ends, "TestAFaultOfTheLabWhileAFallbackBootsBetweenIncrementsBlamesNobody"})
	}
	for _, name := range slices.Sorted(maps.Keys(rescueFaults())) {
		rows = append(rows, row{name, "boot-failed as without it, and no word of PL711", "TestAFaultOfTheLabWhileAWayOutIsTriedChangesNoVerdict"})
	}
	rows = append(rows,
		row{"the run directory cannot be made", "testbed", "TestARunDirectoryThatCannotBeMadeIsTheLabsFault"},
		row{"several first runs of one image at once", "pass: one learns the baseline, the others wait", "TestOfRunsAtOnceOneLearnsTheBaseline"},
		row{"several first runs of one image at once, warm", "pass: one makes the template, the others wait", "TestOfRunsAtOnceOneMakesTheTemplate"},
		row{"a template is damaged on disk", "pass: it is made anew", "TestADamagedTemplateIsMadeAnew"},
		row{"a clone does not go on from its template", "pass: it is booted once, and the result says why", "TestACloneThatCannotGoOnIsBooted"},
		row{"no guest can be saved", "pass: clones are booted, and the result says why", "TestWhereNothingCanBeSavedClonesAreBooted"},
		row{"the host has too little memory", "testbed, before anything starts", "TestAHostWithTooLittleMemoryIsToldOfBeforeAnythingStarts"})
	var table strings.Builder
	for i, r := range rows {
		fmt.Fprintf(&table, "| %d | %s | %s | %s |\n", i+1, r.name, r.ends, r.test)
	}
	const file, begin = "../docs/faults.md", "| --- | --- | --- | --- |\n"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(content), begin)
	_, after, _ := strings.Cut(rest, "\n\n")
	want := head + begin + table.String() + "\n" + after
	switch {
	case !found:
		t.Errorf("%s has no table", file)
	case *update:
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	case want != string(content):
		t.Errorf("%s lists other faults than are tested: go test ./harness -run TestEveryFaultIsListed -update", file)
	}
}
