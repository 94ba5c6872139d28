package systemd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnitsOfSystemctlAreParsed(t *testing.T) {
	got := parseUnits("nginx.service loaded active running A web server\nbad\n\nx.mount not-found inactive dead x.mount\n")
	want := []Unit{
		{Name: "nginx.service", Load: "loaded", Active: "active", Sub: "running"},
		{Name: "x.mount", Load: "not-found", Active: "inactive", Sub: "dead"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestResultsAreAskedOfTypesThatHaveThem(t *testing.T) {
	for unit, want := range map[string]string{
		"a.service": "Service", "a.b.mount": "Mount", "a.target": "", "a.device": "", "a": "",
	} {
		if got := typeInterface(unit); got != want {
			t.Errorf("typeInterface(%q) = %q, want %q", unit, got, want)
		}
	}
}
