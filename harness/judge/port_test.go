package judge_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
)

func TestAPortOpenToTheWorldNamesAllThatItWas(t *testing.T) {
	before := append(webserver(), f(fact.KindPort, "tcp/[::1]:5432", "unit postgresql.service"))
	baseline := fact.NewSet(before...)
	for range 8 { // the drifts come out of a map
		j := judge.New(judge.Case{Baseline: baseline, Control: baseline})
		opened := edit{
			put:  []fact.Fact{f(fact.KindPort, "tcp/*:5432", "unit postgresql.service")},
			drop: []string{"tcp/127.0.0.1:5432", "tcp/[::1]:5432"},
		}
		j.At(judge.Boundary{Phase: "apply", Increment: "one", Facts: opened.on(before)})
		found := j.Findings()
		if len(found) != 1 || found[0].ID != "PL203" || found[0].Was != "tcp/127.0.0.1:5432, tcp/[::1]:5432" {
			t.Fatalf("findings are %+v, want one PL203 that names both ports", found)
		}
	}
}

func TestAPortThatMovedSaysWhereTo(t *testing.T) {
	baseline := fact.NewSet(webserver()...)
	j := judge.New(judge.Case{Baseline: baseline, Control: baseline})
	moved := edit{put: []fact.Fact{f(fact.KindPort, "tcp/*:8080", "unit nginx.service")}, drop: []string{"tcp/*:80"}}
	j.At(judge.Boundary{Phase: "apply", Increment: "one", Facts: moved.on(webserver())})
	got := map[string]string{}
	for _, f := range j.Findings() {
		got[f.ID] = f.Cause
	}
	want := map[string]string{
		"PL201": "nginx.service held it, and listens on tcp/*:8080 now", "PL202": "nginx.service listened on tcp/*:80 before",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
}
