package report_test

import (
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func passed() report.Result {
	return report.Result{
		Schema: 1, Run: "20261122-120000-abcdef", Scenario: "openssl-nginx",
		Image: report.Image{Name: "debian-12-web", Digest: "sha256:1"}, Lock: report.Lock{Digest: "sha256:2"},
		Outcome: verdict.Pass, Findings: []verdict.Finding{}, Guilty: []string{},
		Boots: []report.Boot{
			{Mode: "resume", Entry: "6.1.0-40-amd64", Stage: "ready", Seconds: 41.2},
			{Mode: "clean", Entry: "6.1.0-40-amd64", Stage: "ready", Seconds: 58.04},
		},
		Packages: []report.PackageChange{
			{Name: "libssl3:amd64", From: "3.0.20-1~deb12u2", To: "3.0.22-1~deb12u1", Increment: "openssl"},
			{Name: "nginx:amd64", From: "1.22.1-9+deb12u9", To: "1.22.1-9+deb12u11", Increment: "nginx"},
			{Name: "libnew:amd64", To: "1.0", Increment: "nginx"},
			{Name: "libold:amd64", From: "0.9", Increment: "nginx"},
		},
		Advice: report.Advice{
			Restart: []report.Restart{
				{Unit: "nginx.service", Reason: "maps the deleted /usr/lib/x86_64-linux-gnu/libssl.so.3", Done: true},
				{Unit: "dbus.service", Reason: "cannot be restarted without a reboot"},
			},
			Reboot: report.RebootAdvice{Needed: true, Reasons: []string{"dbus.service runs replaced files"}},
		},
		Rollback: report.Rollback{Routes: []string{}},
		Suites: []report.SuiteRun{
			{Phase: "apply", Passed: 12}, {Phase: "reboot-clean", Passed: 13},
		},
		Phases: []report.Phase{
			{Name: "baseline", Seconds: 0.1, Status: "cached"},
			{Name: "prepare", Seconds: 44.5, Status: "done", Steps: map[string]float64{"boot": 41.2, "suites": 0.8}},
			{Name: "apply", Increment: "openssl", Seconds: 20.25, Status: "done"},
		},
		Counts: report.Counts{Facts: 2000, Expected: 30},
		Host:   report.Host{Hypervisor: "QEMU 7.2.22", Accelerator: "tcg", Slowness: 6},
		RunDir: "/var/lib/patchlab/runs/20261122-120000-abcdef",
	}
}

func regressed() report.Result {
	r := passed()
	r.Scenario, r.Outcome, r.Guilty = "service-disabled", verdict.Regression, []string{"disable"}
	r.Packages, r.Advice = nil, report.Advice{}
	nginx := fact.Key{Kind: fact.KindUnit, Name: "nginx.service"}
	r.Findings = []verdict.Finding{
		{
			ID: "PL101", Severity: verdict.Error, Title: "nginx.service was running and is not any more", Phase: "reboot",
			Increment: "disable", Subject: nginx, Was: "active (running)", Is: "inactive (dead)",
			Remedy:   "Read the unit's journal in the run directory, repair its configuration or hold the package that stopped it.",
			Evidence: []verdict.Evidence{{File: "facts/reboot-clean.json"}},
		},
		{
			ID: "PL103", Severity: verdict.Error, Title: "nginx.service runs, but would not come back after a boot",
			Phase: "apply", Increment: "disable", Package: "nginx", Subject: nginx, Was: "enabled", Is: "disabled",
			Cause:  "the script disabled it",
			Remedy: "Enable the unit again (systemctl enable UNIT).",
			Evidence: []verdict.Evidence{{
				File:  "apply/disable.log",
				Lines: []string{"Removed \x1b[1m\"/etc/systemd/system/multi-user.target.wants/nginx.service\"\x1b[0m.", "2", "3", "4", "5"},
			}},
		},
		{
			ID: "PL108", Severity: verdict.Warning, OldRot: true, Title: "exim4.service was broken before", Phase: "baseline",
			Subject: fact.Key{Kind: fact.KindUnit, Name: "exim4.service"},
		},
	}
	r.Truth = &report.Truth{Outcome: verdict.Pass, Mismatch: []string{"outcome is regression, not pass"}}
	return r
}

func hostile() report.Result {
	r := regressed()
	r.Findings[0].Title = "x\x1b]0;owned\x07\x1b[2J\u202e" + strings.Repeat("very long ", 400)
	r.Findings[0].Is = "a\nb\rc"
	r.Findings[1].Evidence[0].Lines = []string{"]]></failure>\x00<script>"}
	r.Packages = []report.PackageChange{{Name: "a\x1b[31mb", From: "1\n2", To: "3"}}
	r.Boots[0].Cause = "panic\x1b[0m\u009b"
	return r
}

// shown is a regression that the scenario announces.
func shown() report.Result {
	r := regressed()
	r.Truth = &report.Truth{Outcome: verdict.Regression, Holds: true}
	return r
}

func lab() report.Result {
	return report.Result{
		Schema: 1, Scenario: "openssl-nginx", Image: report.Image{Name: "debian-12-web"}, Outcome: verdict.Testbed,
		Reason: "QEMU is not installed: apt-get install qemu-system-x86", RunDir: "/r",
		Clones: report.Clones{Start: "cold", Why: "no guest agent answers"},
		Phases: []report.Phase{{Name: "prepare", Status: "failed", Seconds: 1}},
		Truth:  &report.Truth{Outcome: verdict.Pass, Mismatch: []string{"outcome is testbed, not pass"}},
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		result report.Result
		view   report.View
	}{
		"pass.txt":              {passed(), report.View{Width: 100}},
		"regression.txt":        {regressed(), report.View{Width: 100}},
		"regression-narrow.txt": {regressed(), report.View{Width: 60}},
		"regression-colour.txt": {regressed(), report.View{Width: 100, Colour: true}},
		"regression-shown.txt":  {shown(), report.View{Width: 100}},
		"hostile.txt":           {hostile(), report.View{Width: 80}},
		"testbed.txt":           {lab(), report.View{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, name, report.Summary(test.result, test.view))
		})
	}
}

func TestSummaryLetsNothingOfAGuestThrough(t *testing.T) {
	t.Parallel()
	text := report.Summary(hostile(), report.View{Width: 80})
	for _, r := range text {
		if r != '\n' && unicode.IsControl(r) || r == '\u202e' {
			t.Errorf("character %q reaches the terminal", r)
		}
	}
	if len(text) > 8000 {
		t.Errorf("%d bytes: a guest can flood the terminal", len(text))
	}
}

func TestHeadlineOfEveryOutcome(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, outcome := range []verdict.Outcome{
		verdict.Pass, verdict.Regression, verdict.ApplyFailed, verdict.BootFailed, verdict.Testbed, verdict.Interrupted, "",
	} {
		r := regressed()
		r.Outcome = outcome
		if outcome == verdict.BootFailed {
			r.Findings = append(r.Findings, verdict.Finding{
				ID: "PL707", Severity: verdict.Error, Title: "the boot hangs: a start job of x.service", Phase: "reboot",
			})
		}
		lines = append(lines, report.Headline(r))
	}
	r := passed()
	r.Findings, r.Packages, r.Advice, r.Boots = []verdict.Finding{{Severity: verdict.Warning}}, nil, report.Advice{}, nil
	golden(t, "headlines.txt", strings.Join(append(lines, report.Headline(r)), "\n")+"\n")
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	specs := []report.Spec{
		{Phase: "prepare", Name: "services every unit is active", Seconds: 0.5},
		{Phase: "reboot-clean", Name: "services every unit is active", Seconds: 0.25, Failed: true, Message: "nginx.service\n  active -> \x1b[31minactive"},
		{Phase: "prepare", Name: "network every port listens", Skipped: true},
	}
	for name, result := range map[string]report.Result{
		"pass.xml": passed(), "regression.xml": regressed(), "hostile.xml": hostile(), "testbed.xml": lab(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := report.JUnit(result, specs)
			if err != nil {
				t.Fatal(err)
			}
			var any struct {
				Tests int `xml:"tests,attr"`
			}
			if err := xml.Unmarshal(out, &any); err != nil || any.Tests == 0 {
				t.Errorf("is not readable: %v, %d tests", err, any.Tests)
			}
			golden(t, name, string(out))
		})
	}
}

func TestMarshalIsStableAndReadAgain(t *testing.T) {
	t.Parallel()
	first, err := report.Marshal(regressed())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "result.json", string(first))
	back, err := report.Unmarshal(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := report.Marshal(back)
	if err != nil || string(second) != string(first) {
		t.Errorf("differs after a round trip: %v", err)
	}
	for _, bad := range []string{"", "[]", `{"schema":2}`} {
		if _, err := report.Unmarshal([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestTheWayOutIsToldStepByStep(t *testing.T) {
	t.Parallel()
	result := report.Result{
		Scenario: "kernel", Outcome: verdict.BootFailed,
		Rescue: &report.Rescue{Found: true, Way: "snapshot", Tried: []report.WayOut{
			{Way: "previous kernel", Why: "no other kernel is installed"},
			{Way: "snapshot", Worked: true, Seconds: 61, Kernel: "6.1", Steps: []string{"turn it off", "start it"}, Lacks: []string{"/srv is not mounted"}},
		}},
		Fallbacks: []*report.Fallback{{Increment: "kernel", Kernel: "6.1", Why: "the lab failed"}},
		Fallback:  &report.Fallback{Proven: true, Kernel: "6.1", Entry: "Advanced > Linux 6.1"},
	}
	got := report.Summary(result, report.View{Width: 120})
	for _, line := range []string{
		"  previous kernel: no: no other kernel is installed\n",
		"  snapshot: the guest came up in 61 s with kernel 6.1, but not as before the patch: /srv is not mounted\n    1. turn it off\n    2. start it\n",
		"Fallback: not proven after kernel: the lab failed\nFallback: proven: booted 6.1 by its menu entry \"Advanced > Linux 6.1\".\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("the summary lacks %q:\n%s", line, got)
		}
	}
}
