package judge_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/audit"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

func audited(id string, kind fact.Kind, name string) audit.Finding {
	return audit.Finding{Finding: verdict.Finding{ID: id, Severity: verdict.Error, Subject: fact.Key{Kind: kind, Name: name}}}
}

func TestAnAllowanceExcusesAKernelOfTheAuditAndNothingThatTheGuestStarts(t *testing.T) {
	t.Parallel()
	until := scenario.Date{Time: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)}
	allow := func(kind fact.Kind, name string) scenario.Allowance {
		return scenario.Allowance{Kind: string(kind), Name: name, Change: "removed", Reason: "we know", Owner: "web", Until: until}
	}
	j := judge.New(judge.Case{
		Baseline: fact.NewSet(webserver()...), Now: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
		Allowances: []scenario.Allowance{allow(fact.KindKernel, "installed:6.1"), allow(fact.KindUnit, "nginx.service")},
	})
	j.Audit(nil, []audit.Finding{
		audited("PL702", fact.KindKernel, "installed:6.1"), audited("PL702", fact.KindKernel, "installed:6.2"),
		audited("PL303", fact.KindUnit, "nginx.service"),
	}, "one")
	var got []string
	for _, f := range j.Findings() {
		got = append(got, f.ID+" "+f.Subject.Name+" "+f.Phase+" "+f.Increment)
	}
	want := []string{"PL303 nginx.service audit one", "PL702 installed:6.2 audit one", "PL902 nginx.service compare "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
