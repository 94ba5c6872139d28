package suite_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/harness/wait"
	"github.com/patchlab/patchlab/suites/lab"
)

// behaviour is the environment variable that tells the test binary how to behave as a suite.
const behaviour = "PATCHLAB_TEST_BEHAVIOUR"

// pidFile is the environment variable that says where to write the id of a process that must die.
const pidFile = "PATCHLAB_TEST_PID"

// TestMain makes the test binary play a suite process.
func TestMain(m *testing.M) {
	how := os.Getenv(behaviour)
	if how == "" {
		m.Run()
		return
	}
	if len(os.Args) > 2 { // a compiled suite, with the flags of a test binary
		flag.Parse()
		declare(how)
		lab.RunSpecs(new(testing.T), "compiled")
		return
	}
	if how == "owns" { // plays patchlab itself
		self, _ := os.Executable()
		r := suite.Runner{Program: self, Env: []string{behaviour + "=waits"}}
		_, _ = r.Run(context.Background(), handoff.Handoff{Phase: "baseline", Suites: []string{"shop"}}, nil, os.Getenv(pidFile)+".files")
		return
	}
	err := lab.Execute("test", func(handoff.Handoff) error {
		declare(how)
		return nil
	})
	if err != nil {
		panic(err)
	}
}

func declare(how string) {
	Describe("shop", Label("shop"), func() {
		switch how {
		case "answers":
			It("sells", func() {})
			It("delivers", Label(handoff.ExpectLabel(2)), func() {
				lab.Blame(fact.Key{Kind: fact.KindUnit, Name: "b"}, fact.Key{Kind: fact.KindUnit, Name: "a"})
				lab.Blame(fact.Key{Kind: fact.KindUnit, Name: "a"})
				Fail("no van\x1b[31m left")
			})
			It("panics", func() { panic("no stock") })
			PIt("is planned", func() {})
		case "asks":
			It("asks the guest", func(ctx SpecContext) {
				Expect(string(lab.RunAs(ctx, "shop", "whoami").Stdout)).To(Equal("shop"))
			})
		case "hangs":
			It("never ends", func() {
				started := exec.Command("sleep", "600")
				Expect(started.Start()).To(Succeed())
				Expect(os.WriteFile(os.Getenv(pidFile), fmt.Append(nil, started.Process.Pid), 0o600)).To(Succeed())
				select {}
			})
		case "waits":
			It("never ends", func() {
				Expect(os.WriteFile(os.Getenv(pidFile), fmt.Append(nil, os.Getpid()), 0o600)).To(Succeed())
				select {}
			})
		case "dies":
			It("dies", func() {
				fmt.Fprintln(os.Stderr, "last words")
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			})
		case "floods":
			It("floods", func() {
				for range 20 {
					_, _ = io.WriteString(os.Stdout, strings.Repeat("x", 1<<20))
				}
			})
		case "breaks around":
			It("is not reached", func() {})
		case "is empty":
		}
	})
	if how == "breaks around" {
		BeforeSuite(func() { Fail("no shop") })
	}
}

// runner starts this test binary, which behaves as told.
func runner(t *testing.T, how string, env ...string) suite.Runner {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The race detector sleeps a second at the end of each process.
	return suite.Runner{Program: self, Env: append(env, behaviour+"="+how, "GORACE=atexit_sleep_ms=0")}
}

func run(t *testing.T, how string) (report suite.Report, files string, err error) {
	t.Helper()
	files = filepath.Join(t.TempDir(), "baseline")
	report, err = runner(t, how).Run(t.Context(), handoff.Handoff{Phase: "baseline", Suites: []string{"shop"}}, nil, files)
	return report, files, err
}

func TestAnswersAreReported(t *testing.T) {
	t.Parallel()
	report, files, err := run(t, "answers")
	if err != nil {
		t.Fatal(err)
	}
	if report.Passed != 1 || report.Failed != 2 || report.Skipped != 1 {
		t.Errorf("%d passed, %d failed, %d skipped, want 1, 2, 1", report.Passed, report.Failed, report.Skipped)
	}
	byName := map[string]suite.Spec{}
	for _, s := range report.Specs {
		byName[s.Name] = s
	}
	if s := byName["shop sells"]; s.State != suite.Passed || s.Suite != "shop" || s.Expectation != -1 || s.Labels[0] != "shop" {
		t.Errorf("shop sells: %+v", s)
	}
	s := byName["shop delivers"]
	if s.State != suite.Failed || s.Message != "no van left" || s.Expectation != 2 {
		t.Errorf("shop delivers: %+v", s)
	}
	if len(s.Subjects) != 2 || s.Subjects[0].Name != "a" || s.Subjects[1].Name != "b" {
		t.Errorf("subjects %v, want a and b once each, sorted", s.Subjects)
	}
	if s := byName["shop panics"]; s.State != suite.Failed || !strings.Contains(s.Message, "no stock") {
		t.Errorf("shop panics: %+v", s)
	}
	if s := byName["shop is planned"]; s.State != suite.Skipped {
		t.Errorf("shop is planned: %+v", s)
	}
	for _, suffix := range []string{".log", ".json", ".handoff.json"} {
		if info, err := os.Stat(files + suffix); err != nil || info.Size() == 0 {
			t.Errorf("evidence %s: %v", suffix, err)
		}
	}
}

func TestSuiteReachesTheGuest(t *testing.T) {
	t.Parallel()
	script := guesttest.NewScript()
	script.OnMatch(func(c guest.Command) bool { return c.User == "shop" && c.Line == "whoami" }, guesttest.Says("shop"))
	conn, err := script.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := handoff.Handoff{Phase: "baseline", Suites: []string{"shop"}}
	report, err := runner(t, "asks").Run(t.Context(), h, conn, filepath.Join(t.TempDir(), "baseline"))
	if err != nil || report.Passed != 1 {
		t.Errorf("error %v, report %+v", err, report)
	}
}

func TestGuestThatIsNotThereIsTheLabsFault(t *testing.T) {
	t.Parallel()
	_, _, err := run(t, "asks")
	if !errors.Is(err, guest.ErrLost) || !strings.Contains(err.Error(), `"shop asks the guest"`) {
		t.Errorf("error %v, want guest.ErrLost and the spec's name", err)
	}
}

func TestCompiledSuitesRunToo(t *testing.T) {
	t.Parallel()
	r := runner(t, "answers")
	r.Dir = filepath.Dir(r.Program)
	files := filepath.Join(t.TempDir(), "baseline")
	name := strings.TrimSuffix(filepath.Base(r.Program), ".test")
	report, err := r.Run(t.Context(), handoff.Handoff{Phase: "baseline", Suites: []string{"./" + filepath.Base(r.Program)}}, nil, files)
	if err != nil {
		t.Fatal(err)
	}
	if report.Passed != 1 || report.Failed != 2 || report.Specs[0].Suite != name {
		t.Errorf("report %+v, want 1 passed and 2 failed of suite %q", report, name)
	}
	if _, err := os.Stat(files + "-" + name + ".json"); err != nil {
		t.Error(err)
	}
}

func TestNothingToRunStartsNothing(t *testing.T) {
	t.Parallel()
	report, err := suite.Runner{Program: "/nowhere"}.Run(t.Context(), handoff.Handoff{Phase: "baseline"}, nil, filepath.Join(t.TempDir(), "x"))
	if err != nil || len(report.Specs) != 0 {
		t.Errorf("error %v, specs %v", err, report.Specs)
	}
}

func TestWhatIsNoAnswerIsAnError(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"dies":     "the suites of baseline ended without a report: signal: killed",
		"is empty": "no spec ran",
	}
	for how, want := range tests {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			if _, _, err := run(t, how); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q in it", err, want)
			}
		})
	}
}

func TestDeadSuitesLastWordsAreQuoted(t *testing.T) {
	t.Parallel()
	if _, _, err := run(t, "dies"); err == nil || !strings.Contains(err.Error(), "last words") {
		t.Errorf("error %v, want the end of the log in it", err)
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	t.Parallel()
	h := handoff.Handoff{Phase: "baseline", Suites: []string{"boot"}}
	_, err := suite.Runner{Program: "/nowhere/patchlab"}.Run(t.Context(), h, nil, filepath.Join(t.TempDir(), "x"))
	if err == nil || !strings.Contains(err.Error(), "starting /nowhere/patchlab") {
		t.Errorf("error %v, want the program in it", err)
	}
}

func TestFailureAroundTheSpecsIsReported(t *testing.T) {
	t.Parallel()
	report, _, err := run(t, "breaks around")
	if err != nil {
		t.Fatal(err)
	}
	if report.Failed == 0 || report.Specs[0].Name != "[BeforeSuite]" || report.Specs[0].Message != "no shop" {
		t.Errorf("report %+v, want the failure before the suite", report)
	}
}

func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	report, files, err := run(t, "floods")
	if err != nil || report.Passed != 1 {
		t.Fatalf("error %v, report %+v", err, report)
	}
	info, err := os.Stat(files + ".log")
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 9<<20 {
		t.Errorf("the log has %d bytes", info.Size())
	}
}

func TestSuiteEndsWithTheContextAndTakesItsChildrenAlong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the night is over")
	result := make(chan error, 1)
	go func() {
		_, err := runner(t, "hangs", pidFile+"="+path).
			Run(ctx, handoff.Handoff{Phase: "baseline", Suites: []string{"shop"}}, nil, filepath.Join(t.TempDir(), "baseline"))
		result <- err
	}()
	pid := writtenPID(t, path)
	cancel(why)
	err := <-result
	if !errors.Is(err, why) || !strings.Contains(err.Error(), "the suites of baseline did not end in time") {
		t.Errorf("error %v, want the cause", err)
	}
	if !strings.Contains(err.Error(), "never ends") {
		t.Errorf("error %v, want the spec that hung in it", err)
	}
	awaitDeath(t, pid)
}

func TestSuiteDiesWithItsOwner(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pid")
	owner := exec.Command(self)
	owner.Env = append(os.Environ(), behaviour+"=owns", pidFile+"="+path)
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	pid := writtenPID(t, path)
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // says that it was killed
	awaitDeath(t, pid)
}

// writtenPID waits for the suite process to say which process is to die.
func writtenPID(t *testing.T, path string) int {
	t.Helper()
	pid := 0
	err := wait.Until(t.Context(), "the suite to hang", 10*time.Millisecond, func(context.Context) (bool, error) {
		content, _ := os.ReadFile(path)
		_, err := fmt.Sscan(string(content), &pid)
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func awaitDeath(t *testing.T, pid int) {
	t.Helper()
	err := wait.Until(t.Context(), "a process to die", 10*time.Millisecond, func(context.Context) (bool, error) {
		return gone(pid), nil
	})
	if err != nil {
		t.Error(err)
	}
}

// gone tells whether a process has ended. A killed orphan may wait for the init of this machine to take notice.
func gone(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(status), ") Z ")
}

func TestCheckReportsAllThatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"good.test": 0o755, "text.test": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	r := suite.Runner{Dir: dir}
	known := []string{"boot", "network"}
	if err := r.Check([]string{"boot", "./good.test", "network"}, known); err != nil {
		t.Errorf("good suites: %v", err)
	}
	err := r.Check([]string{"servces", "./missing.test", "./text.test", "boot", "boot"}, known)
	for _, want := range []string{
		`suites[0]: unknown suite "servces" (have boot, network, or a path such as ./shop.test)`,
		"suites[1]: ", "missing.test", "suites[2]: ./text.test is no program", `suites[4]: "boot" is there already, as suites[3]`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}
