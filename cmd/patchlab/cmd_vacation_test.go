package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

func TestAVacationIsARunWithoutAPatch(t *testing.T) {
	t.Parallel()
	s := newSession(t, report.Result{
		Schema: 1, Run: "r1", Scenario: "vacation", Vacation: true, Image: report.Image{Name: "debian-12-web"}, Outcome: verdict.Regression,
		Findings: []verdict.Finding{{ID: "PL101", Severity: verdict.Error, Title: "nginx.service was running and is not any more", Phase: "reboot", Mode: "power-cut"}},
		Boots:    []report.Boot{{Mode: "resume", Stage: "ready"}, {Mode: "clean", Stage: "ready"}, {Mode: "power-cut", Stage: "ready"}},
	})
	live := filepath.Join(s.variables["HOME"], "web1.json")
	s.put(t, live, `[{"kind":"sysctl","name":"vm.swappiness","attributes":{"value":"10"}}]`)
	if code := s.run("vacation", "--image", "debian-12-web", "--against", live); code != 10 {
		t.Fatalf("exit code is %d: %s", code, s.stderr.String())
	}
	got := s.requests[0]
	want := []scenario.Reboot{scenario.RebootClean, scenario.RebootPowerCut}
	if diff := cmp.Diff(want, got.Scenario.Reboot); diff != "" || !got.Vacation || len(got.Scenario.Increments) > 0 {
		t.Errorf("request %+v, reboots (-want +got):\n%s", got, diff)
	}
	if _, there := got.Live.Get(fact.KindSysctl, "vm.swappiness"); !there {
		t.Errorf("the machine's facts are %v", got.Live.All())
	}
	said := strings.Join(strings.Fields(s.stdout.String()), " ")
	for _, line := range []string{
		"REGRESSION: not all of debian-12-web comes back by itself after a clean reboot and a power cut: nginx.service", "seen: reboot (power-cut)",
	} {
		if !strings.Contains(said, line) {
			t.Errorf("%q is missing in:\n%s", line, s.stdout.String())
		}
	}
}

func TestAVacationThatCannotBeIsAUsageError(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for args, want := range map[string]string{
		"vacation": "--image is missing",
		"vacation --image debian-12-web --reboot none":             "there is nothing to do",
		"vacation --image debian-12-web --reboot twice":            `unknown value "twice"`,
		"vacation --image debian-12-web --against /nowhere/x.json": "reading facts",
		"vacation --image nobodys":                                 "nobodys",
	} {
		s.stderr.Reset()
		if code := s.run(strings.Fields(args)...); code != verdict.ExitUsage || !strings.Contains(s.stderr.String(), want) {
			t.Errorf("%s exits with %d: %s", args, code, s.stderr.String())
		}
	}
}
