package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
	"github.com/patchlab/patchlab/harness/zoo"
)

// judged is a result with findings that are blamed on an increment.
func judged(outcome verdict.Outcome, guilty string, ids ...string) report.Result {
	result := failing(outcome)
	result.Guilty = []string{guilty}
	for _, id := range ids {
		result.Findings = append(result.Findings, verdict.Finding{ID: id, Severity: verdict.Error, Phase: "apply", Increment: guilty})
	}
	return result
}

func TestTheZooScoresVerdicts(t *testing.T) {
	t.Parallel()
	cases := []string{"port-moves", "foreign-file", "docs-only", "suid-added"}
	right := []report.Result{
		judged(verdict.Regression, "site", "PL201", "PL202"), judged(verdict.Regression, "beacon", "PL304"), passing(),
		judged(verdict.Regression, "relayd", "PL402"),
	}
	wrong := []report.Result{
		judged(verdict.Regression, "site", "PL202"), judged(verdict.Regression, "beacon", "PL304"), judged(verdict.Regression, "beacon", "PL304"),
		{Schema: 1, Outcome: verdict.Testbed, Reason: "no room on this host"},
	}
	for _, test := range []struct {
		name                   string
		results                []report.Result
		code                   int
		detection, falseAlarms zoo.Score
		unjudged               int
		says                   []string
	}{
		{
			"every truth holds", right, 0,
			zoo.Score{Count: 3, Of: 3},
			zoo.Score{Count: 0, Of: 1},
			0,
			[]string{"detection     3 of 3\n", "false alarms  0 of 1\n"},
		},
		{
			"missed, a false alarm, a fault of the lab", wrong, 10,
			zoo.Score{Count: 1, Of: 2},
			zoo.Score{Count: 1, Of: 1},
			1,
			[]string{
				"port-moves: regression PL202, but PL201 was not found", "docs-only: regression PL304, but outcome is regression, not pass",
				"suid-added: no verdict: no room on this host", "no verdict    1\n",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t, test.results...)
			if code := s.run(append([]string{"zoo", "--output", "json"}, cases...)...); code != test.code {
				t.Errorf("exit code is %d: %s", code, s.stderr.String())
			}
			var card zoo.Card
			if err := json.Unmarshal(s.stdout.Bytes(), &card); err != nil {
				t.Fatal(err)
			}
			if card.Detection != test.detection || card.FalseAlarms != test.falseAlarms || card.Unjudged != test.unjudged || len(card.Cases) != 4 {
				t.Errorf("the card is %+v", card)
			}
			s = newSession(t, test.results...)
			s.run(append([]string{"zoo"}, cases...)...)
			for _, line := range test.says {
				if !strings.Contains(s.stdout.String(), line) {
					t.Errorf("%q is missing in:\n%s", line, s.stdout.String())
				}
			}
		})
	}
}

func TestTheZooListsItsCasesWithoutRunningThem(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	if code := s.run("zoo", "--dry-run"); code != 0 || len(s.requests) != 0 {
		t.Errorf("exit code is %d, and %d cases ran", code, len(s.requests))
	}
	for _, name := range zooCases() {
		if !strings.Contains(s.stdout.String(), name) {
			t.Errorf("%s is missing in:\n%s", name, s.stdout.String())
		}
	}
}

func TestTheZooTriesTheWaysBackUnlessItIsToldNotTo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args   []string
		rescue scenario.Rescue
		truth  string
		image  string
	}{
		{nil, scenario.RescueAuto, scenario.RescueFound, "debian-12-web"},
		{[]string{"--rescue=false"}, scenario.RescueNever, "", "debian-12-web"},
		{[]string{"--image", "debian-12-efi"}, scenario.RescueAuto, scenario.RescueFound, "debian-12-efi"},
	} {
		s := newSession(t, passing())
		s.run(append([]string{"zoo", "grub-cfg-empty"}, test.args...)...)
		if len(s.requests) != 1 {
			t.Fatalf("%v: %d cases ran: %s", test.args, len(s.requests), s.stderr.String())
		}
		if ran := s.requests[0].Scenario; ran.Rescue != test.rescue || ran.Truth.Rescue != test.truth || ran.Image != test.image {
			t.Errorf("%v: rescue %q, truth %q, on %s", test.args, ran.Rescue, ran.Truth.Rescue, ran.Image)
		}
	}
}

func TestOnlyWhatSaysItsTruthIsScored(t *testing.T) {
	t.Parallel()
	silent := filepath.Join(t.TempDir(), "silent.yaml")
	content := "schema: 1\nname: silent\nimage: debian-12-web\nincrements: [{name: a, apt: {packages: [nginx]}}]\n"
	if err := os.WriteFile(silent, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"no-such-case", silent} {
		s := newSession(t, passing())
		if code := s.run("zoo", name); code != verdict.ExitUsage || len(s.requests) != 0 {
			t.Errorf("%s: exit code is %d, and %d cases ran", name, code, len(s.requests))
		}
	}
}
