package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// session is a command line under test.
type session struct {
	env            *environment
	stdout, stderr bytes.Buffer
	variables      map[string]string
	requests       []runRequest
}

// newSession has a fake harness that answers each scenario with the next of the results; the last one stays.
func newSession(t *testing.T, results ...report.Result) *session {
	t.Helper()
	s := &session{variables: map[string]string{"HOME": t.TempDir()}}
	s.env = &environment{
		Stdout: &s.stdout, Stderr: &s.stderr,
		Getenv: func(key string) string { return s.variables[key] },
		Run: func(_ context.Context, request runRequest) (report.Result, error) {
			s.requests = append(s.requests, request)
			request.Sink.Emit(progress.Event{Kind: progress.Note, Step: "baseline", Text: "reading"})
			result := results[min(len(s.requests), len(results))-1]
			result.Scenario, result.Run = request.Scenario.Name, "r1"
			return result, nil
		},
	}
	return s
}

func (s *session) run(args ...string) int { return execute(context.Background(), s.env, args) }

func passing() report.Result { return report.Result{Schema: 1, Outcome: verdict.Pass} }

func failing(outcome verdict.Outcome) report.Result {
	return report.Result{Schema: 1, Outcome: outcome}
}

func TestExitCodeIsThatOfTheOutcome(t *testing.T) {
	t.Parallel()
	for _, c := range verdict.ExitCodes() {
		if c.Outcome == "" {
			continue
		}
		s := newSession(t, failing(c.Outcome))
		if got := s.run("run", "openssl-nginx"); got != c.Code {
			t.Errorf("%s exits with %d, want %d", c.Outcome, got, c.Code)
		}
	}
}

func TestSeveralRunsPrintALineEachAndEndWithTheWorstCode(t *testing.T) {
	t.Parallel()
	s := newSession(t, failing(verdict.Regression), failing(verdict.Testbed), passing())
	code := s.run("run", "zoo/service-disabled", "openssl-nginx", "openssl-nginx", "--output", "json")
	if code != verdict.Regression.ExitCode() {
		t.Errorf("exit code is %d", code)
	}
	lines := strings.Split(strings.TrimSpace(s.stdout.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want one per run:\n%s", len(lines), s.stdout.String())
	}
	for i, want := range []verdict.Outcome{verdict.Regression, verdict.Testbed, verdict.Pass} {
		var got report.Result
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil || got.Outcome != want {
			t.Errorf("line %d is %q (%v)", i, lines[i], err)
		}
	}
}

func TestWorstPutsDamageBeforeWhatIsUnknown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		codes []int
		want  int
	}{
		{nil, 0},
		{[]int{0, 20, 0}, 20},
		{[]int{20, 10}, 10},
		{[]int{10, 12, 11}, 11},
		{[]int{2, 20}, 20},
		{[]int{1, 10}, 10},
		{[]int{1, 20}, 1},
		{[]int{11, 130}, 130},
	} {
		if got := worst(test.codes); got != test.want {
			t.Errorf("worst of %v is %d, want %d", test.codes, got, test.want)
		}
	}
}

func TestTheVerdictComesFirstOnStdoutAndProgressGoesToStderr(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	if code := s.run("run", "openssl-nginx"); code != 0 {
		t.Fatalf("exit code is %d: %s", code, s.stderr.String())
	}
	if !strings.HasPrefix(s.stdout.String(), "PASS: openssl-nginx is safe on ") {
		t.Errorf("stdout is %q", s.stdout.String())
	}
	if !strings.Contains(s.stderr.String(), "baseline: reading") || strings.Contains(s.stderr.String(), "\x1b") {
		t.Errorf("stderr is %q, want plain lines", s.stderr.String())
	}
	s = newSession(t, passing())
	s.run("run", "openssl-nginx", "--quiet")
	if s.stderr.Len() > 0 {
		t.Errorf("--quiet still says %q", s.stderr.String())
	}
}

func TestWaysToRebootAreAFlag(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]scenario.Reboot{
		"none": {}, "clean,power-cut": {scenario.RebootClean, scenario.RebootPowerCut}, "panic": {scenario.RebootPanic},
	} {
		s := newSession(t, passing())
		if code := s.run("run", "openssl-nginx", "--reboot", list); code != 0 {
			t.Fatalf("exit code is %d: %s", code, s.stderr.String())
		}
		if diff := cmp.Diff(want, s.requests[0].Scenario.Reboot); diff != "" {
			t.Errorf("--reboot %s (-want +got):\n%s", list, diff)
		}
	}
}

func TestFlagsBecomeAScenario(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	if code := s.run("run", "--image", "debian-12-web", "--upgrade", "libssl3:amd64,openssl", "--upgrade", "nginx",
		"--reboot", "none", "--keep", "--mode", "full-upgrade"); code != 0 {
		t.Fatalf("exit code is %d: %s", code, s.stderr.String())
	}
	got := s.requests[0]
	if !got.Keep || len(got.Scenario.Reboot) != 0 || got.Scenario.Image != "debian-12-web" ||
		got.Scenario.Name != "upgrade-libssl3-nginx" || len(got.Scenario.Source) == 0 {
		t.Errorf("request is %+v", got)
	}
	var increments []string
	for _, i := range got.Scenario.Increments {
		increments = append(increments, fmt.Sprintf("%s %v %s %s", i.Name, i.APT.Packages, i.APT.Suite, i.APT.Mode))
	}
	want := []string{
		"libssl3 [libssl3:amd64 openssl] security full-upgrade", "nginx [nginx] security full-upgrade",
	}
	if diff := cmp.Diff(want, increments); diff != "" {
		t.Errorf("increments (-want +got):\n%s", diff)
	}

	s = newSession(t, passing())
	s.run("run", "--image", "debian-12-web", "--pending", "bookworm-backports")
	if i := s.requests[0].Scenario.Increments; len(i) != 1 || i[0].APT.Suite != "bookworm-backports" || i[0].APT.Packages != nil {
		t.Errorf("pending became %+v", i)
	}
}

func TestAScenarioRunsOnAnotherImage(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	if code := s.run("run", "openssl-nginx", "--image", "debian-12-minimal"); code != 0 {
		t.Fatalf("exit code is %d: %s", code, s.stderr.String())
	}
	if got := s.requests[0].Scenario; got.Image != "debian-12-minimal" || got.Name != "openssl-nginx" || len(got.Increments) != 2 {
		t.Errorf("ran %s on %s", got.Name, got.Image)
	}
}

func TestUsageErrorsStartNothing(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("schema: 1\nnaem: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"nothing to run":      {[]string{"run"}, []string{"nothing to run", "openssl-nginx"}},
		"no candidate":        {[]string{"run", "--image", "debian-12-web"}, []string{"nothing to install"}},
		"no image":            {[]string{"run", "--upgrade", "nginx"}, []string{"--image is missing"}},
		"scenario and flags":  {[]string{"run", "openssl-nginx", "--upgrade", "x"}, []string{"leave out --upgrade"}},
		"upgrade and pending": {[]string{"run", "--image", "x", "--upgrade", "a", "--pending", "b"}, []string{"leave out --upgrade"}},
		"an unknown reboot":   {[]string{"run", "openssl-nginx", "--reboot", "twice"}, []string{`unknown value "twice"`}},
		"a reboot twice":      {[]string{"run", "openssl-nginx", "--reboot", "clean,clean"}, []string{"clean is there twice"}},
		"a slip in an image":  {[]string{"run", "openssl-nginx", "--image", "debian-12-wbe"}, []string{`did you mean "debian-12-web"?`}},
		"no package":          {[]string{"run", "--image", "debian-12-web", "--upgrade", ","}, []string{"names no package"}},
		"no package's name":   {[]string{"run", "--image", "debian-12-web", "--upgrade", "A B"}, []string{"no package's name"}},
		"JUnit of several":    {[]string{"run", "openssl-nginx", "openssl-nginx", "--junit", "x"}, []string{"one scenario"}},
		"an unknown output":   {[]string{"run", "openssl-nginx", "--output", "xml"}, []string{"have table, json, yaml"}},
		"an unknown flag":     {[]string{"run", "--imgae", "x"}, []string{"unknown flag: --imgae", "patchlab run --help"}},
		"an unknown command":  {[]string{"rnu"}, []string{`unknown command "rnu"`, "did you mean run"}},
		"an unknown finding":  {[]string{"explain", "103"}, []string{"did you mean PL103?"}},
		"all broken scenario files": {
			[]string{"run", broken, "openssl-nginx", "nosuch", "gone.yaml"},
			[]string{
				broken + `:2:1: unknown key "naem" (did you mean "name"?`, "increments: there is none",
				`neither a file nor a built-in scenario "nosuch"`, "there is no scenario file gone.yaml",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t, passing())
			if code := s.run(test.args...); code != verdict.ExitUsage {
				t.Errorf("exit code is %d, want 2", code)
			}
			for _, want := range test.want {
				if !strings.Contains(s.stderr.String(), want) {
					t.Errorf("stderr is %q, want %q in it", s.stderr.String(), want)
				}
			}
			if len(s.requests) > 0 || s.stdout.Len() > 0 {
				t.Errorf("%d runs were started, stdout is %q", len(s.requests), s.stdout.String())
			}
		})
	}
}

func TestErrorsOfTheRunnerHaveTheirCode(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		&patch.NothingError{Increment: "openssl", Installed: "openssl 3.0.22"}: verdict.ExitUsage,
		&patch.ScenarioError{Increment: "given", Reason: "exit code 1"}:        verdict.ExitUsage,
		errors.New("the disk is full"):                                         verdict.ExitInternal,
	} {
		s := newSession(t, passing())
		s.env.Run = func(context.Context, runRequest) (report.Result, error) { return report.Result{}, err }
		if code := s.run("run", "openssl-nginx"); code != want || !strings.Contains(s.stderr.String(), err.Error()) {
			t.Errorf("exit code is %d, want %d; stderr is %q", code, want, s.stderr.String())
		}
	}
}

func TestADryRunStartsNothing(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	if code := s.run("run", "--dry-run", "openssl-nginx"); code != 0 {
		t.Fatalf("exit code is %d: %s", code, s.stderr.String())
	}
	if !strings.Contains(s.stdout.String(), "apply openssl: install openssl libssl3 from bookworm-security") || len(s.requests) > 0 {
		t.Errorf("%d runs, stdout is %q", len(s.requests), s.stdout.String())
	}
}

func TestADryRunTellsWhatIsGivenFirst(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	if code := s.run("run", "--dry-run", "zoo/config-overwritten"); code != 0 {
		t.Fatalf("exit code is %d: %s", code, s.stderr.String())
	}
	if !strings.Contains(s.stdout.String(), "  1. make the state that is given (kept for the next run): ") {
		t.Errorf("stdout is %q", s.stdout.String())
	}
}

func TestABuiltInScenarioBringsItsPayload(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	found := false
	run := s.env.Run
	s.env.Run = func(ctx context.Context, request runRequest) (report.Result, error) {
		_, err := os.Stat(filepath.Join(request.Scenario.Dir, request.Scenario.Increments[0].Script))
		found = err == nil
		return run(ctx, request)
	}
	if code := s.run("run", "zoo/service-disabled"); code != 0 || !found {
		t.Errorf("exit code is %d, payload found: %v", code, found)
	}
	if _, err := os.Stat(s.requests[0].Scenario.Dir); !os.IsNotExist(err) {
		t.Errorf("%s is left behind", s.requests[0].Scenario.Dir)
	}
}

func TestJUnitIsCopiedWhereTheUserWants(t *testing.T) {
	t.Parallel()
	result := passing()
	result.RunDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(result.RunDir, rundir.JUnit), []byte("<testsuites/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "junit.xml")
	s := newSession(t, result)
	if code := s.run("run", "openssl-nginx", "--junit", to); code != 0 {
		t.Errorf("exit code is %d: %s", code, s.stderr.String())
	}
	if got, err := os.ReadFile(to); err != nil || string(got) != "<testsuites/>" {
		t.Errorf("JUnit is %q: %v", got, err)
	}
}

func TestPrecedenceIsFlagEnvironmentFileDefault(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		file      string
		variables map[string]string
		args      []string
		want      string // connect output images
	}{
		"default": {want: " table "},
		"file":    {file: "connect: qemu:///file\noutput: yaml\nimages_dir: /file\n", want: "qemu:///file yaml /file"},
		"libvirt's own variable over the file": {
			file: "connect: qemu:///file\n", variables: map[string]string{"LIBVIRT_DEFAULT_URI": "qemu:///default"},
			want: "qemu:///default table ",
		},
		"environment over both": {
			file: "connect: qemu:///file\noutput: yaml\nimages_dir: /file\n",
			variables: map[string]string{
				"LIBVIRT_DEFAULT_URI": "qemu:///default", "PATCHLAB_CONNECT": "qemu:///env", "PATCHLAB_OUTPUT": "json",
				"PATCHLAB_IMAGES_DIR": "/env",
			},
			want: "qemu:///env json /env",
		},
		"flag over all": {
			file: "connect: qemu:///file\noutput: yaml\n", variables: map[string]string{"PATCHLAB_CONNECT": "qemu:///env"},
			args: []string{"-c", "qemu:///flag", "--output", "json"}, want: "qemu:///flag json ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t, passing())
			maps.Copy(s.variables, test.variables)
			s.configure(t, test.file)
			if code := s.run(append([]string{"run", "--dry-run", "openssl-nginx"}, test.args...)...); code != 0 {
				t.Fatalf("exit code is %d: %s", code, s.stderr.String())
			}
			images := s.env.Dirs.Images
			if !slices.Contains([]string{"/file", "/env"}, images) {
				images = ""
			}
			if got := s.env.Connect + " " + s.env.Output + " " + images; got != test.want {
				t.Errorf("settled on %q, want %q", got, test.want)
			}
		})
	}
}

func (s *session) configure(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(s.variables["HOME"], ".config", "patchlab", "config.yaml")
	if content == "" {
		return path
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestABrokenConfigurationIsToldWithItsPlace(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	path := s.configure(t, "conect: x\noutput: xml\n")
	if code := s.run("explain", "PL103"); code != verdict.ExitUsage {
		t.Errorf("exit code is %d", code)
	}
	for _, want := range []string{path + ":1:1: unknown key", path + ":2:9: output: unknown output"} {
		if !strings.Contains(s.stderr.String(), want) {
			t.Errorf("stderr is %q, want %q in it", s.stderr.String(), want)
		}
	}
}

func TestHelpShowsExamplesAndTheTableOfExitCodes(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"help", "run"}} {
		s := newSession(t, passing())
		if code := s.run(args...); code != 0 {
			t.Errorf("%v exits with %d", args, code)
		}
		for _, want := range []string{"patchlab run openssl-nginx", " 12  boot-failed", "130  interrupted"} {
			if !strings.Contains(s.stdout.String(), want) {
				t.Errorf("%v does not show %q", args, want)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	if code := s.run("explain", "pl103"); code != 0 || !strings.HasPrefix(s.stdout.String(), "PL103 active but would not come back") {
		t.Errorf("exit code is %d, stdout %q", code, s.stdout.String())
	}
	s = newSession(t, passing())
	var entries []verdict.Entry
	if code := s.run("explain", "-o", "json"); code != 0 {
		t.Errorf("exit code is %d", code)
	}
	if err := json.Unmarshal(s.stdout.Bytes(), &entries); err != nil || len(entries) != len(verdict.Catalogue()) {
		t.Errorf("%d entries: %v", len(entries), err)
	}
	s = newSession(t, passing())
	if s.run("explain", "PL101", "-o", "yaml"); !strings.Contains(s.stdout.String(), "id: PL101\n") {
		t.Errorf("yaml is %q", s.stdout.String())
	}
}

func TestASignalEndsWithTheCodeOfAnInterruption(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	s := newSession(t, passing())
	s.env.Run = func(ctx context.Context, _ runRequest) (report.Result, error) {
		cancel(errInterrupted)
		return report.Result{Schema: 1, Run: "r1", Outcome: verdict.Interrupted}, context.Cause(ctx)
	}
	if code := execute(ctx, s.env, []string{"run", "openssl-nginx", "openssl-nginx"}); code != 130 {
		t.Errorf("exit code is %d: %s", code, s.stderr.String())
	}
}

// It is not parallel: it signals its own process.
func TestTheFirstSignalEndsTheContextAndLaterOnesDoNotEndTheProcess(t *testing.T) {
	notices := make(chan string)
	ctx, stop := interruptible(func(text string) { notices <- text })
	defer stop()
	for _, want := range []string{"terminated: cleaning up", "still cleaning up", "still cleaning up"} {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if got := <-notices; !strings.HasPrefix(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		t.Errorf("cause is %v", context.Cause(ctx))
	}
}

func TestNoticesGoThroughTheViewThatIsOpen(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	s.env.notice("before")
	_, end := s.env.sink()
	s.env.notice("during")
	end()
	s.env.notice("after")
	lines := strings.Split(s.stderr.String(), "\n")
	if len(lines) != 4 || lines[0] != "patchlab: before" || !strings.HasSuffix(lines[1], " patchlab: during") || lines[2] != "patchlab: after" {
		t.Errorf("stderr is %q", lines)
	}
}
