package harness_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// vacation takes a clone through a clean reboot and a power cut, without a patch.
func (l *lab) vacation(live ...fact.Fact) report.Result {
	l.t.Helper()
	s := rebooting(scripted(), scenario.RebootClean, scenario.RebootPowerCut)
	result, err := harness.Vacation(l.t.Context(), l.lab(), s, fact.NewSet(live...), l.options())
	if err != nil {
		l.t.Fatal(err)
	}
	l.checkNothingLeft()
	return result
}

func TestAVacationTellsWhatTheAuditFindsAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onUp = func(s *server) { mounts(s, "/data") }
		result := lab.vacation()
		if f := findingOf(result, "PL705"); f.Severity != verdict.Error || f.Phase != "audit" || f.OldRot || len(f.Evidence) == 0 {
			t.Errorf("%+v", f)
		}
		if f := findingOf(result, "PL108"); result.Outcome != verdict.Regression || f.ID != "" {
			t.Errorf("%s: %+v", result.Outcome, f)
		}
	})
}

func TestAVacationListsWhatDoesNotComeBack(t *testing.T) {
	tests := map[string]struct {
		arrange func(*lab)
		live    []fact.Fact
		outcome verdict.Outcome
		want    []string
	}{
		"all comes back": {func(*lab) {}, nil, verdict.Pass, nil},
		"a service that no boot starts": {
			func(l *lab) {
				l.onReboot = func(s *server) { s.set("nginx.service", "active", "inactive"); s.drop("tcp/*:80") }
			}, nil, verdict.Regression, []string{"PL101 reboot  nginx.service clean", "PL201 reboot  tcp/*:80 clean"},
		},
		"a service that does not survive a power cut": {
			func(l *lab) {
				l.power.onCut = func(s *server) { s.set("nginx.service", "active", "failed") }
			}, nil, verdict.Regression, []string{"PL101 reboot  nginx.service power-cut"},
		},
		"a unit that has failed for long": {
			func(l *lab) {
				l.onUp = func(s *server) {
					s.put("unit", "old.service", "active", "failed", "enabled", "enabled", "result", "exit-code")
				}
			}, nil, verdict.Regression, []string{"PL108 baseline  old.service "},
		},
		"a machine that does not start": {
			func(l *lab) {
				l.bootsAgain = func(s *server) bool {
					s.console(loading + kernel)
					if strings.HasSuffix(s.spec.Name, "-run") {
						s.console("[ 2.0] Kernel panic - not syncing: Attempted to kill init!\n")
						return false
					}
					return true
				}
			}, nil, verdict.BootFailed, []string{"PL706 reboot  clean clean"},
		},
		"what the machine itself has": {
			func(*lab) {}, []fact.Fact{
				{Kind: fact.KindProcess, Name: "user-0.slice /usr/bin/socat", Attributes: map[string]string{"users": "root", "detached": "true"}},
			}, verdict.Regression, []string{"PL906 compare  user-0.slice /usr/bin/socat "},
		},
		"somebody's session on the machine": {
			func(*lab) {}, []fact.Fact{
				{Kind: fact.KindProcess, Name: "user-0.slice /usr/bin/tmux", Attributes: map[string]string{"users": "root", "detached": "true"}},
			}, verdict.Pass, []string{"PL906 compare  user-0.slice /usr/bin/tmux "},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				tt.arrange(lab)
				result := lab.vacation(tt.live...)
				var got []string
				for i, id := range ids(result) {
					got = append(got, id+" "+result.Findings[i].Mode)
					if result.Findings[i].OldRot {
						t.Errorf("%s counts as old rot: that is what was asked for", id)
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" || result.Outcome != tt.outcome {
					t.Errorf("outcome %s (%s), findings (-want +got):\n%s", result.Outcome, result.Reason, diff)
				}
				if got := phases(result); !result.Vacation || strings.Contains(got, "apply") || strings.Count(got, "control") != 1 {
					t.Errorf("phases %s", got)
				}
			})
		})
	}
}

func TestAVacationProvesItsPowerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		result := lab.vacation()
		if diff := cmp.Diff([]string{"start ready", "clean ready", "power-cut ready kept lost"}, boots(result)); diff != "" {
			t.Errorf("boots (-want +got):\n%s", diff)
		}
	})
}

func TestWhatIsGivenByHandIsToldAndNobodysFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["given"] = func(s *server) {
			s.put("process", "patchlab-job-given.service /usr/bin/socat", "users", "root")
			s.put("sysctl", "vm.swappiness", "value", "10")
		}
		lab.onUp = func(s *server) { s.put("sysctl", "vm.swappiness", "value", "60") }
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		for _, cached := range []bool{false, true} { // the given state is made once, and told each time
			result := lab.run(withGiven(scripted("good")))
			want := []string{"PL906 prepare  patchlab-job-given.service /usr/bin/socat", "PL906 prepare  vm.swappiness"}
			if got := ids(result); result.Outcome != verdict.Pass || !slices.Equal(got, want) {
				t.Fatalf("cached %v: outcome %s (%s), findings %v", cached, result.Outcome, result.Reason, got)
			}
			for _, f := range result.Findings {
				if !f.OldRot || len(f.Evidence) != 1 {
					t.Errorf("%s counts against the patch, or has no evidence: %+v", f.ID, f)
				}
			}
			if _, err := os.Stat(filepath.Join(result.RunDir, "facts", "given.json")); err != nil {
				t.Error(err)
			}
		}
	})
}
