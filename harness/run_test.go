package harness_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/harness/verdict"
)

// ids lists findings as "ID phase increment subject".
func ids(result report.Result) []string {
	var list []string
	for _, f := range result.Findings {
		list = append(list, strings.Join([]string{f.ID, f.Phase, f.Increment, f.Subject.Name}, " "))
	}
	return list
}

func phases(result report.Result) string {
	var list []string
	for _, p := range result.Phases {
		list = append(list, strings.TrimSuffix(p.Name+" "+p.Increment, " ")+":"+p.Status)
	}
	return strings.Join(list, ", ")
}

func TestAGoodPatchPassesAndTheNextRunPaysNoBaseline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		first := lab.run(scripted("good"))
		if first.Outcome != verdict.Pass {
			t.Fatalf("outcome %s (%s), findings %v", first.Outcome, first.Reason, ids(first))
		}
		want := "baseline:done, control:done, teardown:done, prepare:done, apply good:done, compare:done, audit:done, reboot:done, compare:done, teardown:done"
		if diff := cmp.Diff(want, phases(first)); diff != "" {
			t.Errorf("phases of the first run (-want +got):\n%s", diff)
		}
		second := lab.run(scripted("good"))
		want = "baseline:cached, control:cached, prepare:done, apply good:done, compare:done, audit:done, reboot:done, compare:done, teardown:done"
		if diff := cmp.Diff(want, phases(second)); diff != "" {
			t.Errorf("phases of the second run (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]report.PackageChange{{Name: "nginx:amd64", From: "1", To: "2", Increment: "good"}}, first.Packages); diff != "" {
			t.Errorf("packages (-want +got):\n%s", diff)
		}
	})
}

func TestADisabledServiceIsFoundBeforeTheRebootAndLostAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["harmless"] = func(s *server) { s.upgrade("libssl3:amd64", "2") }
		lab.onApply["disable"] = func(s *server) { s.set("nginx.service", "enabled", "disabled") }
		lab.onReboot = func(s *server) {
			if s.get("nginx.service", "enabled") == "disabled" {
				s.set("nginx.service", "active", "inactive")
				s.drop("tcp/*:80")
			}
		}
		result := lab.run(scripted("harmless", "disable"))
		if result.Outcome != verdict.Regression {
			t.Fatalf("outcome %s (%s)", result.Outcome, result.Reason)
		}
		want := []string{
			"PL101 reboot disable nginx.service", "PL103 apply disable nginx.service", "PL201 reboot disable tcp/*:80",
		}
		if diff := cmp.Diff(want, ids(result)); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"disable"}, result.Guilty); diff != "" {
			t.Errorf("guilty (-want +got):\n%s", diff)
		}
	})
}

func TestABootNamesTheKernelThatItRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["kernel"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		lab.onReboot = func(s *server) {
			if s.patched {
				s.set("running", "release", "6.2")
			}
		}
		var entries []string
		for _, b := range lab.run(scripted("kernel")).Boots {
			entries = append(entries, b.Mode+" "+b.Entry)
		}
		if diff := cmp.Diff([]string{"start 6.1", "clean 6.2"}, entries); diff != "" {
			t.Errorf("boots (-want +got):\n%s", diff)
		}
	})
}

func TestStaleProcessesAreRestartedAndLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		const stale = "nginx.service /usr/sbin/nginx /usr/lib/libssl.so.3"
		lab.onApply["library"] = func(s *server) {
			s.upgrade("libssl3:amd64", "2")
			s.put("stale", stale)
		}
		lab.onRestart = func(s *server) { s.drop(stale) }
		result := lab.run(scripted("library"))
		if result.Outcome != verdict.Pass || len(result.Findings) > 0 {
			t.Fatalf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
		}
		want := []report.Restart{{Unit: "nginx.service", Reason: "nginx maps the deleted libssl.so.3", Done: true}}
		if diff := cmp.Diff(want, result.Advice.Restart); diff != "" {
			t.Errorf("advice (-want +got):\n%s", diff)
		}
		settled := slices.IndexFunc(result.Phases, func(p report.Phase) bool { return p.Name == "settle" })
		if diff := cmp.Diff([]string{"nginx.service"}, result.Phases[settled].Restarted); diff != "" {
			t.Errorf("restarted in the phase (-want +got):\n%s", diff)
		}
	})
}

// TestWhateverGoesWrongGetsItsOutcome holds the heart of the contract: damage is the patch's, an accident the lab's.
func TestWhateverGoesWrongGetsItsOutcome(t *testing.T) {
	tests := []struct {
		name    string
		arrange func(*lab)
		want    verdict.Outcome
		reason  string // part of it
		finding string // one of the ids
	}{
		{
			"the increment's script fails",
			func(l *lab) { l.exitCode = 3 },
			verdict.ApplyFailed, "", "PL503",
		},
		{
			"the patched guest never boots again",
			func(l *lab) { l.bootsAgain = func(s *server) bool { return !s.patched } },
			verdict.BootFailed, "", "PL707",
		},
		{
			"the patched guest boots but nobody can log in",
			func(l *lab) {
				l.bootsAgain = func(s *server) bool {
					if s.patched {
						s.console("web login: ")
					}
					return !s.patched
				}
			},
			verdict.Regression, "", "PL205",
		},
		{
			"the unpatched guest never boots",
			func(l *lab) { l.neverUp = true },
			verdict.Testbed, "the unpatched guest did not come up", "",
		},
		{
			"the hypervisor refuses to define",
			func(l *lab) { l.driver.FailNext(fake.Define, errors.New("no space left on device")) },
			verdict.Testbed, "no space left on device", "",
		},
		{
			"the hypervisor refuses to start",
			func(l *lab) { l.driver.FailNext(fake.Start, errors.New("cannot allocate memory")) },
			verdict.Testbed, "cannot allocate memory", "",
		},
		{
			"QEMU is killed while the increment installs",
			func(l *lab) { l.onApply["good"] = func(s *server) { s.kill() } },
			verdict.Testbed, "QEMU ended", "",
		},
		{
			"the host's disk is full while the increment installs",
			func(l *lab) {
				l.onApply["good"] = func(s *server) {
					s.guest.Down()
					if err := l.driver.Pause(s.spec.Name); err != nil {
						l.t.Error(err)
					}
				}
			},
			verdict.Testbed, "the host's disk is full", "",
		},
		{
			"QEMU is killed during the reboot",
			func(l *lab) {
				l.bootsAgain = func(s *server) bool {
					if s.patched {
						s.kill()
					}
					return !s.patched
				}
			},
			verdict.Testbed, "QEMU ended", "",
		},
		{
			"the suites give no answer",
			func(l *lab) { l.suites.err = errors.New("the suite process crashed") },
			verdict.Testbed, "the suite process crashed", "",
		},
		{
			"a spec fails that the facts do not tell",
			func(l *lab) { l.suites.failAfterPatch = true },
			verdict.Regression, "", "PL904",
		},
		{
			"there is no hypervisor at all",
			func(l *lab) { l.noHost = errors.New("libvirtd is not installed") },
			verdict.Testbed, "libvirtd is not installed", "",
		},
		{
			"a finding was proven before the lab failed",
			func(l *lab) {
				l.onApply["good"] = func(s *server) { s.set("nginx.service", "enabled", "disabled") }
				l.bootsAgain = func(s *server) bool {
					if s.patched {
						s.kill()
					}
					return !s.patched
				}
			},
			verdict.Regression, "QEMU ended", "PL103",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
				tt.arrange(lab)
				result := lab.run(scripted("good"))
				if result.Outcome != tt.want || !strings.Contains(result.Reason, tt.reason) {
					t.Errorf("outcome %s (%q), want %s (%q); findings %v", result.Outcome, result.Reason, tt.want, tt.reason,
						ids(result))
				}
				if found := strings.Join(ids(result), "\n"); !strings.Contains(found, tt.finding) {
					t.Errorf("findings %s, want %s", found, tt.finding)
				}
			})
		})
	}
}

func TestACutConnectionDoesNotInstallTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		installed := 0
		lab.onApply["good"] = func(s *server) {
			installed++
			s.upgrade("nginx:amd64", "2")
			if installed == 1 {
				s.guest.Cut()
			}
		}
		result := lab.run(scripted("good"))
		if result.Outcome != verdict.Pass || installed != 1 {
			t.Errorf("outcome %s (%s), installed %d times", result.Outcome, result.Reason, installed)
		}
	})
}

func TestAnIncrementThatChangesNothingIsNothingToTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["empty"] = func(*server) {}
		_, err := harness.Run(t.Context(), lab.lab(), scripted("empty"), lab.options())
		var nothing *patch.NothingError
		if !errors.As(err, &nothing) || nothing.Increment != "empty" {
			t.Errorf("error %v, want that there is nothing to test", err)
		}
		lab.checkNothingLeft()
	})
}

func TestTheRunDirectoryTellsTheWholeStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		result := lab.run(scripted("good"))
		for _, name := range []string{
			rundir.Result, rundir.JUnit, rundir.Console, rundir.Commands, rundir.Scenario, "apply/good.log",
			"facts/baseline.json", "facts/apply-good.json", "facts/reboot-clean.json",
		} {
			if _, err := os.Stat(filepath.Join(result.RunDir, name)); err != nil {
				t.Errorf("evidence is missing: %v", err)
			}
		}
		content, err := os.ReadFile(filepath.Join(result.RunDir, rundir.Result))
		if err != nil {
			t.Fatal(err)
		}
		var written report.Result
		if err := json.Unmarshal(content, &written); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(result, written); diff != "" {
			t.Errorf("result.json (-returned +written):\n%s", diff)
		}
	})
}

func TestEveryFindingOfAFactCarriesItsEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["bad"] = func(s *server) {
			s.put("file", "/etc/../motd", "sha256", "b", "text", "hacked\n", "type", "file")
			s.set("nginx.service", "enabled", "disabled")
		}
		result := lab.run(scripted("bad"))
		if len(result.Findings) != 2 {
			t.Fatalf("findings %v", ids(result))
		}
		for _, f := range result.Findings {
			if len(f.Evidence) == 0 {
				t.Errorf("%s has no evidence", f.ID)
			}
			if f.Subject.Kind == fact.KindUnit && !slices.ContainsFunc(f.Evidence, func(e verdict.Evidence) bool {
				return e.File == "journal/apply-bad.log"
			}) {
				t.Errorf("%s does not point at the journal: %v", f.ID, f.Evidence)
			}
			for _, e := range f.Evidence {
				content, err := os.ReadFile(filepath.Join(result.RunDir, e.File))
				if err != nil {
					t.Errorf("%s: %v", f.ID, err)
				}
				if strings.HasSuffix(e.File, ".diff") && !strings.Contains(string(content), "+hacked") {
					t.Errorf("the diff is %q", content)
				}
			}
		}
		if n := len(result.Findings[1].Evidence); n != 2 {
			t.Errorf("the changed file has %d pieces of evidence, want its facts and its diff", n)
		}
	})
}

func TestAFailedSpecWhosePortIsToldAsLostIsNotToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.suites.failAfterPatch = true
		lab.suites.subjects = []fact.Key{{Kind: fact.KindPort, Name: "tcp/80"}}
		lab.onApply["bad"] = func(s *server) { s.drop("tcp/*:80") }
		want := []string{"PL201 apply bad tcp/*:80"}
		if diff := cmp.Diff(want, ids(lab.run(scripted("bad")))); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
	})
}

func TestASpecThatIsGoneOrSkippedAfterThePatchIsTold(t *testing.T) {
	for name, state := range map[string]suite.State{"skipped": suite.Skipped, "gone": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				lab.suites.afterPatch = &state
				lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
				result := lab.run(scripted("good"))
				if result.Outcome != verdict.Regression {
					t.Errorf("outcome is %s: what is not asked any more is not known to hold", result.Outcome)
				}
				if got := ids(result); !slices.Equal(got, []string{"PL903 apply  serves the page"}) {
					t.Errorf("findings are %v", got)
				}
			})
		})
	}
}

func TestATruthThatDoesNotHoldIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		s := scripted("good")
		s.Truth = &scenario.Truth{Outcome: "regression", Findings: []string{"PL103"}, Phase: "apply"}
		result := lab.run(s)
		want := []string{"outcome is pass, not regression", "PL103 was not found", "no finding was seen at phase apply"}
		if result.Truth == nil || result.Truth.Holds {
			t.Fatalf("the truth holds: %+v", result.Truth)
		}
		if diff := cmp.Diff(want, result.Truth.Mismatch); diff != "" {
			t.Errorf("mismatch (-want +got):\n%s", diff)
		}
	})
}
