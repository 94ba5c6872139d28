package verdict_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

var update = flag.Bool("update", false, "write docs/findings.md")

func TestOutcomeIsTheFirstMatchOfTheRule(t *testing.T) {
	t.Parallel()
	blamed := []verdict.Finding{{ID: "PL101", Severity: verdict.Error}}
	harmless := []verdict.Finding{
		{ID: "PL101", Severity: verdict.Error, OldRot: true},
		{ID: "PL601", Severity: verdict.Warning},
		{ID: "PL803", Severity: verdict.Info},
	}
	tests := map[string]struct {
		end  verdict.End
		want verdict.Outcome
		code int
	}{
		"nothing happened": {verdict.End{}, verdict.Pass, 0},
		"old rot, warnings and notes do not change the outcome": {verdict.End{Findings: harmless}, verdict.Pass, 0},
		"a blamed error": {verdict.End{Findings: blamed}, verdict.Regression, 10},
		"a lab error alone says nothing about the patch": {verdict.End{LabError: true, Findings: harmless}, verdict.Testbed, 20},
		"a lab error does not hide damage":               {verdict.End{LabError: true, Findings: blamed}, verdict.Regression, 10},
		"a failed boot before its consequences":          {verdict.End{BootFailed: true, Findings: blamed}, verdict.BootFailed, 12},
		"a failed boot before a lab error":               {verdict.End{BootFailed: true, LabError: true}, verdict.BootFailed, 12},
		"a failed apply before a failed boot": {
			verdict.End{ApplyFailed: true, BootFailed: true, LabError: true, Findings: blamed}, verdict.ApplyFailed, 11,
		},
		"a person goes first": {
			verdict.End{Interrupted: true, ApplyFailed: true, BootFailed: true, LabError: true, Findings: blamed},
			verdict.Interrupted, 130,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.end.Outcome()
			if got != test.want || got.ExitCode() != test.code {
				t.Errorf("outcome %q with code %d, want %q with %d", got, got.ExitCode(), test.want, test.code)
			}
		})
	}
}

func TestAnUnknownOutcomeIsAnInternalError(t *testing.T) {
	t.Parallel()
	for _, o := range []verdict.Outcome{"", "fine"} {
		if got := o.ExitCode(); got != verdict.ExitInternal {
			t.Errorf("exit code of %q is %d", o, got)
		}
	}
}

func TestSortPrintsTheSameBytesForTheSameFindings(t *testing.T) {
	t.Parallel()
	finding := func(severity verdict.Severity, id, unit, phase string) verdict.Finding {
		return verdict.Finding{Severity: severity, ID: id, Phase: phase, Subject: fact.Key{Kind: fact.KindUnit, Name: unit}}
	}
	want := []verdict.Finding{
		finding(verdict.Error, "PL101", "a", "apply"),
		finding(verdict.Error, "PL101", "a", "reboot"),
		finding(verdict.Error, "PL101", "b", "apply"),
		finding(verdict.Error, "PL103", "a", "apply"),
		finding(verdict.Warning, "PL101", "a", "apply"),
		finding(verdict.Info, "PL101", "a", "apply"),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	verdict.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestCatalogueIsCompleteAndUnique(t *testing.T) {
	t.Parallel()
	var want []string
	for hundred, last := range []int{1: 9, 2: 6, 3: 8, 4: 5, 5: 5, 6: 3, 7: 14, 8: 4, 9: 6} {
		for n := 1; n <= last; n++ {
			want = append(want, fmt.Sprintf("PL%d%02d", hundred, n))
		}
	}
	var got []string
	sentence := regexp.MustCompile(`^[A-Z].*\.$`)
	for _, e := range verdict.Catalogue() {
		got = append(got, e.ID)
		if !slices.Contains([]verdict.Severity{verdict.Error, verdict.Warning, verdict.Info}, e.Severity) {
			t.Errorf("%s has severity %q", e.ID, e.Severity)
		}
		if e.Title == "" || !sentence.MatchString(e.Meaning) || !sentence.MatchString(e.Remedy) {
			t.Errorf("%s lacks a title or whole sentences: %q, %q, %q", e.ID, e.Title, e.Meaning, e.Remedy)
		}
		if e.Group() == "" {
			t.Errorf("%s is in no group", e.ID)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids in order (-want +got):\n%s", diff)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	if e, ok := verdict.Lookup("pl103"); !ok || e.ID != "PL103" || !strings.Contains(e.Meaning, "no longer enabled") {
		t.Errorf("PL103 is %+v, %v", e, ok)
	}
	for _, id := range []string{"", "PL199", "PL", "103"} {
		if e, ok := verdict.Lookup(id); ok {
			t.Errorf("%q found %+v", id, e)
		}
	}
}

// docs/findings.md is made from the table, so that the two never differ.
func TestDocumentIsUpToDate(t *testing.T) {
	t.Parallel()
	const path = "../../docs/findings.md"
	want := verdict.Document()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/findings.md differs from the catalogue: run `go test ./harness/verdict -update`")
	}
}
