package handoff_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/scenario"
)

func full() handoff.Handoff {
	one := "1"
	nginx := fact.Fact{Kind: fact.KindUnit, Name: "nginx.service", Attributes: map[string]string{"active": "active"}}
	return handoff.Handoff{
		Phase: "reboot", Reboot: "clean",
		Boots:    []handoff.Boot{{ID: "a", Mode: "start", Seconds: 61.5}, {ID: "b", Mode: "clean", Seconds: 70}},
		Baseline: fact.NewSet(nginx),
		Facts:    fact.NewSet(),
		Drifts: []drift.Drift{{
			Key: nginx.Key(), Change: drift.Removed, Was: nginx.Attributes, Class: drift.Finding, Reason: "unexplained", ID: "PL101",
		}},
		Packages: []handoff.Package{{Name: "nginx:amd64", From: "1", To: "2", Increment: "nginx"}},
		Expect: []scenario.Expect{
			{Service: "nginx"},
			{Port: "tcp/80"},
			{HTTP: &scenario.HTTP{URL: "http://127.0.0.1/", Status: 200}},
			{Command: &scenario.Command{Run: "psql", User: "postgres", Stdout: &one}},
			{File: &scenario.Content{Path: "/etc/motd", Contains: "x"}},
		},
		Suites: []string{"boot"}, Labels: "!asks-guest", Patience: time.Minute, Socket: "@patchlab-x", Report: "/run/report.json",
	}
}

func TestHandoffSurvivesTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reboot.handoff.json")
	if err := full().Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := handoff.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	want := full()
	want.Schema = handoff.Schema
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b fact.Set) bool { return cmp.Equal(a.All(), b.All()) })); diff != "" {
		t.Errorf("handoff (-want +got):\n%s", diff)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: it holds a key to the guest, so only its owner may read it", info.Mode())
	}
}

func TestHandoffRefusesWhatItDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ content, want string }{
		"another schema": {`{"schema":2,"phase":"x","novelty":1}`, "schema 2, but this suite was built for schema 1"},
		"no schema":      {`{"phase":"x"}`, "schema 0"},
		"unknown field":  {`{"schema":1,"phase":"x","novelty":1}`, `unknown field "novelty"`},
		"no phase":       {`{"schema":1}`, "phase: missing"},
		"unknown class":  {`{"schema":1,"phase":"x","drifts":[{"change":"added","class":"fine"}]}`, `drifts[0].class: unknown class "fine"`},
		"unknown change": {`{"schema":1,"phase":"x","drifts":[{"change":"moved"}]}`, `drifts[0].change: unknown change "moved"`},
		"boot sans id":   {`{"schema":1,"phase":"x","boots":[{}]}`, "boots[0].id: missing"},
		"negative":       {`{"schema":1,"phase":"x","patience":-1}`, "patience: -1ns is negative"},
		"no JSON":        {`hello`, "invalid character"},
		"cut off":        {`{"schema":1,"phase":"x"`, "unexpected end"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := handoff.Parse([]byte(test.content)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schema":1,"phase":"x","drifts":[{"change":"added","class":"finding"}],"facts":[{"kind":"unit","name":"a"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		h, err := handoff.Parse(content)
		if err != nil {
			return
		}
		if err := h.Write(filepath.Join(t.TempDir(), "again")); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}
