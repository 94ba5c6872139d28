package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

func TestSuitesThatCannotRunAreToldBeforeARunStarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	scenario := func(suite string) string {
		path := filepath.Join(dir, "own.yaml")
		content := "schema: 1\nname: own\nimage: debian-12-web\nincrements:\n  - {name: a, services: {restart: [nginx]}}\nsuites: [" + suite + "]\n"
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for suite, want := range map[string]string{
		"./notes.txt": "is no program: compile the suite with `go test -c`",
		"./gone.test": `there is no`,
		"./empty":     "compiling the suite ./empty",
	} {
		s := newSession(t, passing())
		if code := s.run("run", scenario(suite)); code != verdict.ExitUsage || !strings.Contains(s.stderr.String(), want) {
			t.Errorf("%s exits with %d: %s", suite, code, s.stderr.String())
		}
		if len(s.requests) > 0 {
			t.Errorf("%s: a run was started", suite)
		}
	}
}

func TestAScenarioMayPointAtAGoPackage(t *testing.T) {
	t.Parallel()
	dir, err := filepath.Abs("../../docs/examples")
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t, passing())
	if code := s.run("run", filepath.Join(dir, "shop.yaml"), "--quiet"); code != 0 {
		t.Fatalf("it exits with %d: %s", code, s.stderr.String())
	}
	suites := s.requests[0].Scenario.Suites
	program := suites[len(suites)-1]
	if filepath.Base(program) != "shop.test" || !filepath.IsAbs(program) {
		t.Errorf("suites are %v", suites)
	}
	if _, err := os.Stat(program); err == nil {
		t.Errorf("%s stays behind", program)
	}
}

func TestSuitesByHandNeedAKeptGuest(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.record(t, "r1", "baseline=active")
	for args, want := range map[string]string{
		"suite run services --run r1": "has kept no guest",
		"suite run servces --run r1":  `unknown suite "servces"`,
		"suite run services":          "--run is missing",
	} {
		s.stderr.Reset()
		if code := s.run(strings.Fields(args)...); code != verdict.ExitUsage || !strings.Contains(s.stderr.String(), want) {
			t.Errorf("%s exits with %d: %s", args, code, s.stderr.String())
		}
	}
}

func TestTheLastHandoffOfARunIsTaken(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	dir := s.record(t, "r1", "baseline=active", "apply-a=active", "reboot-clean=active")
	if err := os.Mkdir(filepath.Join(dir, rundir.Suites), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, phase := range []string{"baseline", "apply", "reboot-clean"} {
		h := handoff.Handoff{Phase: phase, Socket: "/run/x", Drifts: []drift.Drift{{
			Key: fact.Key{Kind: fact.KindUnit, Name: phase}, Change: drift.Added, Class: drift.Expected,
		}}}
		if err := h.Write(filepath.Join(dir, rundir.Suites, phase+".handoff.json")); err != nil {
			t.Fatal(err)
		}
	}
	h, err := lastHandoff(dir)
	if err != nil || h.Phase != "reboot-clean" || h.Socket != "" || h.Drifts[0].Key.Name != "reboot-clean" {
		t.Errorf("the last handoff is %+v, %v", h, err)
	}
}
