package harness_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// twoKernels is the menu of a guest with a kernel beside the old one.
const twoKernels = `menuentry 'Debian' --id simple {
	linux /boot/vmlinuz-6.2 root=/dev/vda1 ro
}
submenu 'Advanced' --id advanced {
	menuentry 'Linux 6.2' --id new {
		linux /boot/vmlinuz-6.2 root=/dev/vda1 ro
	}
	menuentry 'Linux 6.1 (recovery)' --id old-recovery {
		linux /boot/vmlinuz-6.1 root=/dev/vda1 ro single
	}
	menuentry 'Linux 6.1' --id old {
		linux /boot/vmlinuz-6.1 root=/dev/vda1 ro
	}
}
`

// oldEntry is what the boot loader is told to start the old one.
const oldEntry = "advanced>old"

// kernelUpdate brings kernel 6.2 beside 6.1, each started by its entry.
func kernelUpdate(l *lab) scenario.Scenario {
	l.onUp = func(s *server) {
		s.put("kernel", "installed:6.1", "release", "6.1", "image", "/boot/vmlinuz-6.1", "initrd", "/boot/initrd.img-6.1")
		s.put("kernel", "default", "release", "6.1")
	}
	l.onApply["kernel"] = func(s *server) {
		s.put("package", "linux-image-6.2:amd64", "version", "6.2", "status", "installed")
		s.put("kernel", "installed:6.2", "release", "6.2", "image", "/boot/vmlinuz-6.2", "initrd", "/boot/initrd.img-6.2")
		s.set("default", "release", "6.2")
		s.menu = twoKernels
	}
	l.onReboot = func(s *server) {
		switch {
		case s.patched && s.entry == oldEntry:
			s.set("running", "release", "6.1")
		case s.patched:
			s.set("running", "release", "6.2")
		}
	}
	s := scripted("kernel")
	s.Rescue = scenario.RescueAuto
	return s
}

// fellBack tells whether a guest boots the kernel from before the patch, by its entry.
func (s *server) fellBack() bool { return s.patched && s.entry == oldEntry }

func entries(result report.Result) []string {
	var all []string
	for _, b := range result.Boots {
		all = append(all, b.Mode+" "+b.Entry+" "+b.Stage)
	}
	return all
}

func TestTheKernelFromBeforeIsBootedByItsEntryAndTheDefaultAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		result := lab.run(kernelUpdate(lab))
		if result.Outcome != verdict.Pass {
			t.Fatalf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
		}
		want := &report.Fallback{Proven: true, Kernel: "6.1", Entry: "Advanced > Linux 6.1"}
		if diff := cmp.Diff(want, result.Fallback); diff != "" {
			t.Errorf("fallback (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"start 6.1 ready", "clean 6.2 ready", "fallback 6.1 ready", "default 6.2 ready"}, entries(result)); diff != "" {
			t.Errorf("boots (-want +got):\n%s", diff)
		}
	})
}

func TestAFallbackThatFailsIsToldOfThePatch(t *testing.T) {
	loseNginx := func(s *server) {
		s.set("nginx.service", "active", "inactive")
		s.drop("tcp/*:80")
	}
	tests := []struct {
		name    string
		arrange func(*lab)
		ids     []string
		why     string
		boots   []string
	}{
		{
			"it does not come up",
			func(l *lab) {
				l.bootsAgain = func(s *server) bool {
					if s.fellBack() {
						s.console("GRUB loading\nLinux version 6.1\nKernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n")
					}
					return !s.fellBack()
				}
			},
			[]string{"PL713 fallback kernel fallback"},
			"its boot is over in stage kernel",
			[]string{"start 6.1 ready", "clean 6.2 ready", "fallback 6.1 kernel"},
		},
		{
			"a service does not come up with it",
			func(l *lab) {
				reboot := l.onReboot
				l.onReboot = func(s *server) {
					reboot(s)
					if s.fellBack() {
						loseNginx(s)
					} else if s.patched {
						s.set("nginx.service", "active", "active")
						s.put("port", "tcp/*:80", "unit", "nginx.service", "executable", "/usr/sbin/nginx")
					}
				}
			},
			[]string{"PL713 fallback kernel fallback"},
			"nginx.service",
			[]string{"start 6.1 ready", "clean 6.2 ready", "fallback 6.1 ready", "default 6.2 ready"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				s := kernelUpdate(lab)
				tt.arrange(lab)
				result := lab.run(s)
				if result.Outcome != verdict.Regression || result.Fallback.Proven || !strings.Contains(result.Fallback.Why, tt.why) {
					t.Errorf("outcome %s (%s), fallback %+v", result.Outcome, result.Reason, result.Fallback)
				}
				if diff := cmp.Diff(tt.ids, ids(result)); diff != "" {
					t.Errorf("findings (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.boots, entries(result)); diff != "" {
					t.Errorf("boots (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestWhatThePatchBrokeIsNotToldOnceMoreOfTheFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		s := kernelUpdate(lab)
		apply := lab.onApply["kernel"]
		lab.onApply["kernel"] = func(s *server) {
			apply(s)
			s.set("nginx.service", "active", "inactive")
			s.drop("tcp/*:80")
		}
		result := lab.run(s)
		if result.Fallback == nil || !result.Fallback.Proven || len(ids(result)) != 2 {
			t.Errorf("fallback %+v, findings %v", result.Fallback, ids(result))
		}
	})
}

func TestNothingIsClaimedWhereThereIsNothingToFallBackTo(t *testing.T) {
	tests := []struct {
		name    string
		arrange func(*lab, *scenario.Scenario)
		want    *report.Fallback
	}{
		{
			"nothing of the boot was touched",
			func(l *lab, _ *scenario.Scenario) {
				l.onApply["kernel"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
				l.onReboot = func(*server) {}
			}, nil,
		},
		{"it is not wanted", func(_ *lab, s *scenario.Scenario) { s.Rescue = scenario.RescueNever }, nil},
		{
			"the menu has one kernel",
			func(l *lab, _ *scenario.Scenario) {
				apply := l.onApply["kernel"]
				l.onApply["kernel"] = func(s *server) {
					apply(s)
					s.menu = strings.Split(twoKernels, "submenu")[0]
				}
			}, &report.Fallback{Why: "the boot menu has no entry for another kernel"},
		},
		{
			"the boot loader does as it likes",
			func(l *lab, _ *scenario.Scenario) {
				l.onReboot = func(s *server) {
					if s.patched {
						s.set("running", "release", "6.2")
					}
				}
			},
			&report.Fallback{
				Kernel: "6.1", Entry: "Advanced > Linux 6.1", Why: "the boot loader was told to start 6.1 next, and started 6.2",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				s := kernelUpdate(lab)
				tt.arrange(lab, &s)
				result := lab.run(s)
				if result.Outcome != verdict.Pass || len(result.Findings) > 0 {
					t.Errorf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
				}
				if diff := cmp.Diff(tt.want, result.Fallback); diff != "" {
					t.Errorf("fallback (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// updateThenTidy is the update of a kernel that another increment follows. tidied tells whether that was applied.
func updateThenTidy(l *lab) (s scenario.Scenario, tidied *bool) {
	update := kernelUpdate(l)
	tidied = new(bool)
	l.onApply["tidy"] = func(s *server) {
		s.upgrade("nginx:amd64", "2")
		*tidied = true
	}
	s = scripted("kernel", "tidy")
	s.Rescue = update.Rescue
	return s, tidied
}

func TestAfterAKernelThatOthersFollowTheFallbackIsBootedAndUndone(t *testing.T) {
	for began, warm := range map[string]bool{"resume": true, "start": false} {
		t.Run(began, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				lab.warm = warm
				s, _ := updateThenTidy(lab)
				reboot := lab.onReboot
				lab.onReboot = func(s *server) {
					if reboot(s); s.fellBack() {
						s.put("file", "/trace")
					}
				}
				tidy, traces := lab.onApply["tidy"], "not looked for"
				lab.onApply["tidy"] = func(s *server) {
					traces = s.get("running", "release")
					if _, found := s.facts[fact.Key{Kind: "file", Name: "/trace"}]; found {
						traces += " with a trace of the fallback"
					}
					tidy(s)
				}
				result := lab.run(s)
				if result.Outcome != verdict.Pass || traces != "6.1" {
					t.Fatalf("outcome %s (%s), findings %v; the second increment found %s", result.Outcome, result.Reason, ids(result), traces)
				}
				after := report.Fallback{Proven: true, Kernel: "6.1", Entry: "Advanced > Linux 6.1"}
				between := after
				between.Increment = "kernel"
				if diff := cmp.Diff([]*report.Fallback{&between}, result.Fallbacks); diff != "" {
					t.Errorf("fallbacks between (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(&after, result.Fallback); diff != "" {
					t.Errorf("fallback at the end (-want +got):\n%s", diff)
				}
				want := []string{began + " 6.1 ready", "fallback 6.1 ready", "clean 6.2 ready", "fallback 6.1 ready", "default 6.2 ready"}
				if diff := cmp.Diff(want, entries(result)); diff != "" {
					t.Errorf("boots (-want +got):\n%s", diff)
				}
				if told := lab.suites.boots; len(told) != 2 {
					t.Errorf("the suites are told of %v, of which the guest knows two", told)
				}
			})
		})
	}
}

func TestTheIncrementIsNamedThatSpoiltTheFallback(t *testing.T) {
	dies := func(l *lab, since func() bool) {
		l.bootsAgain = func(s *server) bool {
			if s.fellBack() && since() {
				s.console("GRUB loading\nLinux version 6.1\nKernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n")
				return false
			}
			return true
		}
	}
	tests := []struct {
		name   string
		spoil  func(l *lab, tidied *bool)
		ids    []string
		proven []bool // in order, that at the end last
	}{
		{
			"the second", func(l *lab, tidied *bool) { dies(l, func() bool { return *tidied }) },
			[]string{"PL713 fallback tidy fallback"},
			[]bool{true, false},
		},
		{
			"the first, which the second does not mend", func(l *lab, _ *bool) { dies(l, func() bool { return true }) },
			[]string{"PL713 fallback kernel fallback"},
			[]bool{false, false},
		},
		{
			"the first, where the second has touched the boot as well", func(l *lab, _ *bool) {
				dies(l, func() bool { return true })
				tidy := l.onApply["tidy"]
				l.onApply["tidy"] = func(s *server) {
					tidy(s)
					s.put("kernel", "installed:6.0", "release", "6.0")
				}
			},
			[]string{"PL713 fallback kernel fallback"},
			[]bool{false, false},
		},
		{
			"none: it is wrong with every kernel", func(l *lab, _ *bool) {
				reboot := l.onReboot
				l.onReboot = func(s *server) {
					if reboot(s); s.patched {
						s.set("nginx.service", "active", "inactive")
						s.drop("tcp/*:80")
					}
				}
			},
			[]string{"PL101 reboot tidy nginx.service", "PL201 reboot  tcp/*:80"},
			[]bool{true, true},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				s, tidied := updateThenTidy(lab)
				tt.spoil(lab, tidied)
				result := lab.run(s)
				if diff := cmp.Diff(tt.ids, ids(result)); diff != "" || result.Outcome != verdict.Regression {
					t.Errorf("outcome %s (%s), findings (-want +got):\n%s", result.Outcome, result.Reason, diff)
				}
				var proven []bool
				for _, f := range append(result.Fallbacks, result.Fallback) {
					proven = append(proven, f.Proven)
				}
				if diff := cmp.Diff(tt.proven, proven); diff != "" {
					t.Errorf("proven (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestAFallbackThatFailsIsToldWhenTheRebootFailsAsWell unless they failed of one thing.
func TestAFallbackThatFailsIsToldWhenTheRebootFailsAsWell(t *testing.T) {
	for last, want := range map[string][]string{
		"Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)": {"PL706 reboot  clean"},
		"Kernel panic - not syncing: No working init found.":                             {"PL706 reboot  clean", "PL713 fallback kernel fallback"},
	} {
		t.Run(last, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				s, tidied := updateThenTidy(lab)
				lab.bootsAgain = func(s *server) bool {
					end := "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"
					if *tidied {
						end = last
					}
					if s.patched {
						s.console("GRUB loading\nLinux version 6.1\n" + end + "\n")
					}
					return !s.patched
				}
				result := lab.run(s)
				if diff := cmp.Diff(want, ids(result)); diff != "" || result.Outcome != verdict.BootFailed {
					t.Errorf("outcome %s (%s), findings (-want +got):\n%s", result.Outcome, result.Reason, diff)
				}
				if f := result.Fallbacks[0]; f.Proven || !strings.Contains(f.Why, "Unable to mount root") {
					t.Errorf("the fallback: %+v", f)
				}
			})
		})
	}
}

func TestWithoutAWayBackNoFallbackIsTriedBetweenIncrements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.neverBack = true
		s, _ := updateThenTidy(lab)
		result := lab.run(s)
		if result.Outcome != verdict.Pass || len(result.Fallbacks) > 0 || !result.Fallback.Proven {
			t.Errorf("outcome %s (%s), fallbacks %+v and %+v", result.Outcome, result.Reason, result.Fallbacks, result.Fallback)
		}
		if why := "fallback kernel:it is not proven that a revert undoes"; !strings.Contains(phases(result), why) {
			t.Errorf("the phases do not say why: %s", phases(result))
		}
	})
}

// fallbackFaults strike while the fallback is proven.
func fallbackFaults() map[string]func(*lab) {
	return map[string]func(*lab){
		"QEMU is killed while the fallback boots": func(l *lab) {
			for _, s := range l.running() {
				s.kill()
			}
		},
		"the host's disk is full while the fallback boots": func(l *lab) {
			for _, s := range l.running() {
				s.guest.Down()
				if err := l.driver.Pause(s.spec.Name); err != nil {
					l.t.Error(err)
				}
			}
		},
		"the console is lost while the fallback boots": func(l *lab) {
			for _, s := range l.running() {
				s.guest.Down()
				if err := os.Remove(s.spec.Console); err != nil {
					l.t.Error(err)
				}
			}
		},
		"libvirtd is gone while the fallback boots": func(l *lab) {
			for _, s := range l.running() {
				s.guest.Down()
			}
			for range 1000 {
				l.driver.FailNext(fake.State, errors.New("the connection to libvirt was closed"))
			}
		},
	}
}

func TestAFaultOfTheLabWhileTheFallbackBootsChangesNoVerdict(t *testing.T) {
	for name, strike := range fallbackFaults() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				s := kernelUpdate(lab)
				lab.bootsAgain = func(s *server) bool { return !s.fellBack() }
				options := lab.options()
				options.Sink = sinkFunc(func(e progress.Event) {
					if e.Kind == progress.Note && strings.HasPrefix(e.Text, "booting 6.1") {
						strike(lab)
					}
				})
				result, err := harness.Run(t.Context(), lab.lab(), s, options)
				requireNobodyBlamed(t, result, err)
				if result.Outcome != verdict.Pass || result.Fallback.Proven || !strings.Contains(result.Fallback.Why, "the lab failed") {
					t.Errorf("outcome %s (%s), fallback %+v", result.Outcome, result.Reason, result.Fallback)
				}
				sweep(t, lab)
				lab.checkNothingLeft()
			})
		})
	}
}

func TestAFaultOfTheLabWhileAFallbackBootsBetweenIncrementsBlamesNobody(t *testing.T) {
	for name, strike := range faultsBetween() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				s, tidied := updateThenTidy(lab)
				struck := false
				options := lab.options()
				options.Sink = sinkFunc(func(e progress.Event) {
					if e.Kind == progress.Note && strings.HasPrefix(e.Text, "booting 6.1") && !struck {
						struck = true
						strike(lab)
					}
				})
				result, err := harness.Run(t.Context(), lab.lab(), s, options)
				requireNobodyBlamed(t, result, err)
				passed, lost := result.Outcome == verdict.Pass, name == neverBackFromFallback
				if passed != *tidied || passed && lost || !passed && strings.HasPrefix(name, "the console") || len(result.Fallbacks) != 1 {
					t.Fatalf("outcome %s (%s), fallbacks %+v", result.Outcome, result.Reason, result.Fallbacks)
				}
				if f := result.Fallbacks[0]; f.Proven != lost || strings.Contains(f.Why, "the lab failed") == lost {
					t.Errorf("the fallback: %+v", f)
				}
				sweep(t, lab)
				lab.checkNothingLeft()
			})
		})
	}
}

func TestAFallbackThatSomebodyStopsIsNotTheLabsFault(t *testing.T) {
	for name, names := range map[string][]string{"at the end": {"kernel"}, "between increments": {"kernel", "tidy"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				s, _ := updateThenTidy(lab)
				s.Increments = scripted(names...).Increments
				ctx, cancel := context.WithCancelCause(t.Context())
				options := lab.options()
				options.Sink = sinkFunc(func(e progress.Event) {
					if e.Kind == progress.Note && strings.HasPrefix(e.Text, "booting 6.1") {
						cancel(errors.New("interrupted by a person"))
					}
				})
				result, err := harness.Run(ctx, lab.lab(), s, options)
				if err != nil || result.Outcome != verdict.Interrupted {
					t.Fatalf("outcome %s (%s), error %v", result.Outcome, result.Reason, err)
				}
				tried := append(result.Fallbacks, result.Fallback)[0]
				if tried.Proven || tried.Why != "stopped: interrupted by a person" {
					t.Errorf("the fallback: %+v", tried)
				}
				lab.checkNothingLeft()
			})
		})
	}
}

// neverBackFromFallback is the one fault between increments that always ends a run. From the others the guest is brought back, unless
// the watch over its domain sees first that it is dead.
const neverBackFromFallback = "the guest cannot be brought back from its fallback"

// faultsBetween strike while a fallback boots that another increment follows.
func faultsBetween() map[string]func(*lab) {
	faults := map[string]func(*lab){
		neverBackFromFallback: func(l *lab) { l.driver.FailNext(fake.Revert, errors.New("no space left on device")) },
	}
	for name, strike := range fallbackFaults() {
		faults[name+", between increments"] = strike
	}
	return faults
}
