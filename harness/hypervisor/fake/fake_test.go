package fake_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/drivertest"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	driver := fake.New()
	drivertest.Run(t, drivertest.Bench{
		Open:     func(context.Context) (hypervisor.Driver, error) { return driver, nil },
		Dir:      func(t *testing.T) string { t.Helper(); return t.TempDir() },
		Backing:  backing(t),
		Greeting: fake.Greeting,
		Counting: backing(t),
		Work: func(t *testing.T, _ hypervisor.Driver, name string) {
			t.Helper()
			if err := driver.Work(name); err != nil {
				t.Fatal(err)
			}
		},
		Variables:   backing(t),
		Accelerator: hypervisor.TCG,
		Kill: func(t *testing.T, _ hypervisor.Driver, name string) {
			t.Helper()
			if err := driver.Kill(name); err != nil {
				t.Fatal(err)
			}
		},
	})
}

func backing(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backing.qcow2")
	if err := os.WriteFile(path, []byte("an image"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func spec(t *testing.T, name string) hypervisor.DomainSpec {
	t.Helper()
	dir := t.TempDir()
	return hypervisor.DomainSpec{
		Name: name, RunID: "r1", RunDir: dir,
		Disk:    hypervisor.Disk{Path: filepath.Join(dir, "disk.qcow2"), Backing: backing(t)},
		Console: filepath.Join(dir, "console.log"),
	}
}

func TestFailNextFailsOnceAndInTurn(t *testing.T) {
	t.Parallel()
	driver := fake.New()
	domain, err := driver.Define(t.Context(), spec(t, "one"))
	if err != nil {
		t.Fatal(err)
	}
	first, second := errors.New("no space"), errors.New("no luck")
	driver.FailNext(fake.Start, first)
	driver.FailNext(fake.Start, second)
	for _, want := range []error{first, second, nil} {
		if err := domain.Start(t.Context()); !errors.Is(err, want) {
			t.Errorf("starting gives %v, want %v", err, want)
		}
	}
}

func TestTheHooksSeeEachChangeOfPower(t *testing.T) {
	t.Parallel()
	driver := fake.New()
	var seen []string
	driver.OnStart = func(spec hypervisor.DomainSpec) error {
		seen = append(seen, "on "+spec.Name)
		if spec.Name == "refused" {
			return errors.New("refused")
		}
		return nil
	}
	driver.OnDestroy = func(spec hypervisor.DomainSpec) { seen = append(seen, "off "+spec.Name) }

	destroyed, err := driver.Define(t.Context(), spec(t, "destroyed"))
	if err != nil {
		t.Fatal(err)
	}
	killed, err := driver.Define(t.Context(), spec(t, "killed"))
	if err != nil {
		t.Fatal(err)
	}
	refused, err := driver.Define(t.Context(), spec(t, "refused"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		destroyed.Start(t.Context()), destroyed.Destroy(t.Context()), destroyed.Undefine(t.Context()),
		killed.Start(t.Context()), driver.Kill("killed"), killed.Undefine(t.Context()),
	); err != nil {
		t.Fatal(err)
	}
	if err := refused.Start(t.Context()); err == nil {
		t.Error("the hook's error did not make the start fail")
	}
	if state, err := refused.State(t.Context()); state != hypervisor.StateOff || err != nil {
		t.Errorf("after a failed start the domain is %s (%v)", state, err)
	}
	want := []string{"on destroyed", "off destroyed", "on killed", "off killed", "on refused"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestKillNeedsADomain(t *testing.T) {
	t.Parallel()
	if err := fake.New().Kill("nobody"); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestTheAgentIsWhatATestMakesIt(t *testing.T) {
	t.Parallel()
	driver := fake.New()
	driver.OnAgent = func(_ context.Context, spec hypervisor.DomainSpec, command []byte) ([]byte, error) {
		if string(command) == "no" {
			return nil, &hypervisor.AgentError{Class: "GenericError", Description: "no"}
		}
		return []byte(spec.Name + " " + string(command)), nil
	}
	domain, err := driver.Define(t.Context(), spec(t, "one"))
	if err != nil {
		t.Fatal(err)
	}
	agent, ok := domain.(hypervisor.AgentCaller)
	if !ok {
		t.Fatal("the fake's domains have no agent")
	}
	if _, err := agent.CallAgent(t.Context(), []byte("ping")); err == nil || errors.Is(err, hypervisor.ErrNoAgent) {
		t.Errorf("a domain that is off: %v", err)
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if answer, err := agent.CallAgent(t.Context(), []byte("ping")); string(answer) != "one ping" || err != nil {
		t.Errorf("the answer is %q (%v)", answer, err)
	}
	if _, err := agent.CallAgent(t.Context(), []byte("no")); !isRefusal(err) {
		t.Errorf("a refusal is %v", err)
	}
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*hypervisor.AgentError](err)
	return ok
}

func TestRecordedDomainsOutliveTheirDriver(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "domains.json")
	first, err := fake.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	running, err := first.Define(t.Context(), spec(t, "running"))
	if err != nil {
		t.Fatal(err)
	}
	removed, err := first.Define(t.Context(), spec(t, "removed"))
	if err := errors.Join(err, running.Start(t.Context()), removed.Undefine(t.Context())); err != nil {
		t.Fatal(err)
	}
	second, err := fake.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := first.Domains(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := second.Domains(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) != 1 || got[0].State != hypervisor.StateRunning {
		t.Errorf("domains %v (-want +got):\n%s", got, diff)
	}
}
