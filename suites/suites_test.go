package suites_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/suites"
)

// TestMain makes the test binary play patchlab: started with a handoff it runs suites, as `patchlab suite-exec` does.
func TestMain(m *testing.M) {
	if os.Getenv(handoff.Env) == "" {
		m.Run()
		return
	}
	if err := suites.Exec(); err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
	}
}

const (
	systemctlShow = "systemctl show --property=Id,SubState,NRestarts -- "
	healthyUnits  = "NRestarts=0\nId=nginx.service\nSubState=running\n\nNRestarts=1\nId=ssh.service\nSubState=running\n"
)

// lab is a healthy guest and what the harness would hand over about it. Each test breaks one thing.
type lab struct {
	*handoff.Handoff
	guest *guesttest.Script
}

func healthy() lab {
	script := guesttest.NewScript()
	script.On("systemctl is-active default.target", guesttest.Says("active\n"))
	script.OnPrefix(systemctlShow, guesttest.Says(healthyUnits))
	id, _ := script.File(guesttest.BootID)
	facts := fact.NewSet(
		unit("nginx.service", "active", "enabled"), unit("rsync.service", "inactive", "disabled"),
		fact.Fact{Kind: fact.KindKernel, Name: "running", Attributes: map[string]string{"release": "6.1.0-49-amd64"}},
		fact.Fact{Kind: fact.KindKernel, Name: "default", Attributes: map[string]string{"release": "6.1.0-49-amd64"}},
		fact.Fact{Kind: fact.KindPort, Name: "tcp/*:80", Attributes: map[string]string{"unit": "nginx.service"}},
		pkg("nginx:amd64", "installed"), pkg("openssl:amd64", "installed"),
		fact.Fact{Kind: fact.KindMount, Name: "/srv", Attributes: map[string]string{"fstype": "ext4"}},
		fact.Fact{Kind: fact.KindProcess, Name: "rc-local.service /opt/agent", Attributes: map[string]string{"users": "root"}},
	)
	return lab{guest: script, Handoff: &handoff.Handoff{
		Phase: "reboot", Reboot: "clean", Suites: suites.Names(), Baseline: facts, Facts: facts,
		Boots: []handoff.Boot{{ID: "first", Mode: "start"}, {ID: strings.TrimSpace(string(id.Content)), Mode: "clean"}},
	}}
}

func unit(name, active, enabled string) fact.Fact {
	return fact.Fact{Kind: fact.KindUnit, Name: name, Attributes: map[string]string{"active": active, "enabled": enabled}}
}

func pkg(name, status string) fact.Fact {
	return fact.Fact{Kind: fact.KindPackage, Name: name, Attributes: map[string]string{"version": "1", "status": status}}
}

// set makes a fact be what it is now, with its drift of class finding.
func (l lab) set(facts ...fact.Fact) {
	l.Facts = fact.NewSet(append(slices.Clone(l.Facts.All()), facts...)...)
	l.compare()
}

// loops gives the guest a service that was there before and now restarts all the time.
func (l lab) loops(shown string) {
	facts := append(slices.Clone(l.Facts.All()), unit("loop.service", "activating", "enabled"))
	l.Baseline, l.Facts = fact.NewSet(facts...), fact.NewSet(facts...)
	l.guest.On(systemctlShow+"'loop.service' 'nginx.service'", guesttest.Says(shown+"\n"+healthyUnits))
}

func (l lab) remove(kind fact.Kind, name string) {
	l.Facts = fact.NewSet(slices.DeleteFunc(slices.Clone(l.Facts.All()), func(f fact.Fact) bool {
		return f.Key() == fact.Key{Kind: kind, Name: name}
	})...)
	l.compare()
}

func (l lab) compare() {
	l.Drifts = drift.Compare(l.Baseline, l.Facts)
	l.class(drift.Finding)
}

func (l lab) class(c drift.Class) {
	for i := range l.Drifts {
		l.Drifts[i].Class = c
	}
}

func (l lab) run(t *testing.T) (suite.Report, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.guest.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The race detector sleeps a second at the end of each process.
	runner := suite.Runner{Program: self, Env: []string{"GORACE=atexit_sleep_ms=0"}}
	return runner.Run(t.Context(), *l.Handoff, conn, filepath.Join(t.TempDir(), "reboot"))
}

func failed(r suite.Report) map[string][]fact.Key {
	names := map[string][]fact.Key{}
	for _, s := range r.Specs {
		if s.State == suite.Failed {
			names[s.Name] = s.Subjects
		}
	}
	return names
}

func TestHealthyGuestKeepsEveryPromise(t *testing.T) {
	t.Parallel()
	l := healthy()
	l.guest.RequireScripted(t)
	report, err := l.run(t)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range report.Specs {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	want := []string{
		"boot has every file system mounted that was mounted",
		"boot has no unit failed that had not failed before",
		"boot has not rebooted by itself since it settled",
		"boot reaches its default target",
		"boot really rebooted",
		"boot runs the kernel that the boot loader starts by default",
		"network listens on every port and address as before",
		"network opens no port that was closed",
		"network serves every port with the same service, program and user",
		"packages keeps every package that was installed",
		"packages leaves no package half configured",
		"services has no service failed that had not failed before",
		"services keeps every program running that ran",
		"services keeps every service active that was active",
		"services keeps every service enabled that was enabled",
		"services restarts no service again and again",
		"services starts nothing that was off",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("specs (-want +got):\n%s", diff)
	}
	if report.Passed != len(want) || report.Failed != 0 || report.Skipped != 0 {
		t.Errorf("%d passed, %d failed, %d skipped of %d: %v", report.Passed, report.Failed, report.Skipped, len(want), failed(report))
	}
}

// brokenPromises says of each thing that can be wrong with a guest which specs say so, and about what.
func brokenPromises() map[string]struct {
	plant func(lab)
	want  map[string][]fact.Key
} {
	nginx := fact.Key{Kind: fact.KindUnit, Name: "nginx.service"}
	port := fact.Key{Kind: fact.KindPort, Name: "tcp/*:80"}
	type broken = struct {
		plant func(lab)
		want  map[string][]fact.Key
	}
	return map[string]broken{
		"service stopped": {
			func(l lab) { l.set(unit("nginx.service", "inactive", "enabled")) },
			map[string][]fact.Key{"services keeps every service active that was active": {nginx}},
		},
		"service gone": {
			func(l lab) { l.remove(nginx.Kind, nginx.Name) },
			map[string][]fact.Key{
				"services keeps every service active that was active":   {nginx},
				"services keeps every service enabled that was enabled": {nginx},
			},
		},
		"service disabled": {
			func(l lab) { l.set(unit("nginx.service", "active", "disabled")) },
			map[string][]fact.Key{"services keeps every service enabled that was enabled": {nginx}},
		},
		"service failed": {
			func(l lab) { l.set(unit("nginx.service", "failed", "enabled")) },
			map[string][]fact.Key{
				"services keeps every service active that was active":       {nginx},
				"services has no service failed that had not failed before": {nginx},
				"boot has no unit failed that had not failed before":        {nginx},
			},
		},
		"service started uninvited": {
			func(l lab) { l.set(unit("rsync.service", "active", "enabled")) },
			map[string][]fact.Key{"services starts nothing that was off": {{Kind: fact.KindUnit, Name: "rsync.service"}}},
		},
		"process outside units lost": {
			func(l lab) { l.remove(fact.KindProcess, "rc-local.service /opt/agent") },
			map[string][]fact.Key{
				"services keeps every program running that ran": {{Kind: fact.KindProcess, Name: "rc-local.service /opt/agent"}},
			},
		},
		"restart loop": {
			func(l lab) {
				l.loops("NRestarts=5\nId=loop.service\nSubState=running\n")
			},
			map[string][]fact.Key{"services restarts no service again and again": {{Kind: fact.KindUnit, Name: "loop.service"}}},
		},
		"waiting for its next restart": {
			func(l lab) {
				l.loops("SubState=auto-restart\nNRestarts=1\nId=loop.service\n")
			},
			map[string][]fact.Key{"services restarts no service again and again": {{Kind: fact.KindUnit, Name: "loop.service"}}},
		},
		"port closed": {
			func(l lab) { l.remove(port.Kind, port.Name) },
			map[string][]fact.Key{"network listens on every port and address as before": {port}},
		},
		"port opened": {
			func(l lab) { l.set(fact.Fact{Kind: fact.KindPort, Name: "tcp/*:8080"}) },
			map[string][]fact.Key{"network opens no port that was closed": {{Kind: fact.KindPort, Name: "tcp/*:8080"}}},
		},
		"port taken over": {
			func(l lab) {
				l.set(fact.Fact{Kind: port.Kind, Name: port.Name, Attributes: map[string]string{"unit": "apache2.service"}})
			},
			map[string][]fact.Key{"network serves every port with the same service, program and user": {port}},
		},
		"package lost": {
			func(l lab) { l.remove(fact.KindPackage, "nginx:amd64") },
			map[string][]fact.Key{"packages keeps every package that was installed": {{Kind: fact.KindPackage, Name: "nginx:amd64"}}},
		},
		"package removed but for its configuration": {
			func(l lab) { l.set(pkg("nginx:amd64", "config-files")) },
			map[string][]fact.Key{"packages keeps every package that was installed": {{Kind: fact.KindPackage, Name: "nginx:amd64"}}},
		},
		"candidate's own package half configured": {
			func(l lab) {
				l.set(pkg("openssl:amd64", "half-configured"))
				l.class(drift.Expected)
			},
			map[string][]fact.Key{"packages leaves no package half configured": {{Kind: fact.KindPackage, Name: "openssl:amd64"}}},
		},
		"file system not mounted": {
			func(l lab) { l.remove(fact.KindMount, "/srv") },
			map[string][]fact.Key{"boot has every file system mounted that was mounted": {{Kind: fact.KindMount, Name: "/srv"}}},
		},
		"default target not reached": {
			func(l lab) {
				l.guest.On("systemctl is-active default.target", guesttest.Exits(3, "inactive\n", ""))
			},
			map[string][]fact.Key{"boot reaches its default target": nil},
		},
		"did not reboot": {
			func(l lab) { l.Boots[0] = l.Boots[1] },
			map[string][]fact.Key{"boot really rebooted": nil},
		},
		"rebooted by itself": {
			func(l lab) { l.guest.Reboot() },
			map[string][]fact.Key{"boot has not rebooted by itself since it settled": nil},
		},
		"old kernel runs": {
			func(l lab) {
				l.set(fact.Fact{Kind: fact.KindKernel, Name: "default", Attributes: map[string]string{"release": "6.1.0-50-amd64"}})
			},
			map[string][]fact.Key{"boot runs the kernel that the boot loader starts by default": {
				{Kind: fact.KindKernel, Name: "default"}, {Kind: fact.KindKernel, Name: "running"},
			}},
		},
		"boot loader has no kernel": {
			func(l lab) { l.remove(fact.KindKernel, "default") },
			map[string][]fact.Key{"boot runs the kernel that the boot loader starts by default": {
				{Kind: fact.KindKernel, Name: "default"}, {Kind: fact.KindKernel, Name: "running"},
			}},
		},
	}
}

func TestEachBrokenPromiseFailsItsSpecAndNoOther(t *testing.T) {
	t.Parallel()
	for name, broken := range brokenPromises() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := healthy()
			broken.plant(l)
			report, err := l.run(t)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(broken.want, failed(report)); diff != "" {
				t.Errorf("failed specs and their subjects (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExcusedDriftsFailNothing(t *testing.T) {
	t.Parallel()
	for _, class := range []drift.Class{drift.Expected, drift.Volatile, drift.Allowed} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			l := healthy()
			l.set(unit("nginx.service", "failed", "disabled"), fact.Fact{Kind: fact.KindPort, Name: "tcp/*:8080"})
			l.remove(fact.KindPackage, "nginx:amd64")
			l.class(class)
			report, err := l.run(t)
			if err != nil {
				t.Fatal(err)
			}
			if got := failed(report); len(got) > 0 {
				t.Errorf("failed in spite of class %s: %v", class, got)
			}
		})
	}
}

func TestUnclassedDriftIsAFault(t *testing.T) {
	t.Parallel()
	l := healthy()
	l.set(fact.Fact{Kind: fact.KindPort, Name: "tcp/*:8080"})
	l.class(drift.Unclassed)
	report, err := l.run(t)
	if err != nil {
		t.Fatal(err)
	}
	if got := failed(report); len(got) != 1 {
		t.Errorf("failed %v, want the port", got)
	}
}

func TestNewKernelNeedNotRunBeforeTheReboot(t *testing.T) {
	t.Parallel()
	l := healthy()
	l.Reboot, l.Phase = "", "apply kernel"
	l.Packages = []handoff.Package{{Name: "linux-image-amd64:amd64", From: "6.1.176", To: "6.1.192"}}
	l.set(fact.Fact{Kind: fact.KindKernel, Name: "default", Attributes: map[string]string{"release": "6.1.0-50-amd64"}})
	report, err := l.run(t)
	if err != nil {
		t.Fatal(err)
	}
	if got := failed(report); len(got) > 0 {
		t.Errorf("failed: %v", got)
	}
}

func TestKernelThatWasNoDefaultBeforeIsOldRot(t *testing.T) {
	t.Parallel()
	l := healthy()
	l.set(fact.Fact{Kind: fact.KindKernel, Name: "default", Attributes: map[string]string{"release": "6.1.0-50-amd64"}})
	l.Baseline = l.Facts
	l.compare()
	report, err := l.run(t)
	if err != nil {
		t.Fatal(err)
	}
	if got := failed(report); len(got) > 0 {
		t.Errorf("failed: %v", got)
	}
}

// A spec that ran before the patch and not after it counts as gone.
func TestLaterPhasesRunEverySpecOfTheBaseline(t *testing.T) {
	t.Parallel()
	names := func(change func(lab)) []string {
		l := healthy()
		change(l)
		report, err := l.run(t)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range report.Specs {
			names = append(names, s.Name)
		}
		return names
	}
	apply := names(func(l lab) {
		l.Phase, l.Reboot = "apply", ""
		l.Packages = []handoff.Package{{Name: "linux-image-amd64:amd64", To: "6.1.192"}}
	})
	reboot := names(func(lab) {})
	for _, name := range names(func(l lab) { l.Phase, l.Reboot = "baseline", "" }) {
		if !slices.Contains(apply, name) || !slices.Contains(reboot, name) {
			t.Errorf("%q runs at the baseline, and not after apply or reboot", name)
		}
	}
}

func TestLostGuestIsTheLabsFault(t *testing.T) {
	t.Parallel()
	l := healthy()
	l.guest.OnPrefix(systemctlShow, func(context.Context, guest.Command) guest.Result {
		l.guest.Down()
		return guest.Result{}
	})
	_, err := l.run(t)
	if err == nil || !strings.Contains(err.Error(), "could not ask the guest") {
		t.Errorf("error %v, want one that says that the guest could not be asked", err)
	}
}

func TestUnknownSuiteIsNamed(t *testing.T) {
	t.Parallel()
	l := healthy()
	l.Suites = []string{"boot", "servces"}
	_, err := l.run(t)
	const want = `suites[1]: unknown suite "servces" (have boot, network, packages, services)`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q in it", err, want)
	}
}

func TestExpectations(t *testing.T) {
	t.Parallel()
	one := "1"
	serve := func(body string) func(lab) {
		return func(l lab) { l.guest.Handle("tcp", "127.0.0.1:80", answer(body)) }
	}
	tests := map[string]struct {
		expect scenario.Expect
		good   func(lab)
		bad    func(lab)
		title  string
	}{
		"service": {
			scenario.Expect{Service: "nginx"},
			nil,
			func(l lab) { l.set(unit("nginx.service", "failed", "enabled")) },
			"expect nginx is active",
		},
		"port": {
			scenario.Expect{Port: "tcp/80"},
			nil,
			func(l lab) { l.remove(fact.KindPort, "tcp/*:80") },
			"expect tcp/80 is listening",
		},
		"page": {
			scenario.Expect{HTTP: &scenario.HTTP{URL: "http://127.0.0.1/", Contains: "welcome"}},
			serve("you are welcome"), serve("go away"),
			`expect http://127.0.0.1/ answers 200 with "welcome"`,
		},
		"status": {
			scenario.Expect{HTTP: &scenario.HTTP{URL: "http://127.0.0.1/missing", Status: 404}},
			serve(""), nil,
			"expect http://127.0.0.1/missing answers 404",
		},
		"exit code": {
			scenario.Expect{Command: &scenario.Command{Run: "nginx -t"}},
			func(l lab) { l.guest.On("nginx -t", guesttest.Says("")) },
			func(l lab) { l.guest.On("nginx -t", guesttest.Exits(1, "", "syntax error\n")) },
			`expect "nginx -t" succeeds`,
		},
		"output and user": {
			scenario.Expect{Command: &scenario.Command{Run: "psql", User: "postgres", Stdout: &one}},
			func(l lab) {
				l.guest.OnMatch(func(c guest.Command) bool { return c.Line == "psql" && c.User == "postgres" }, guesttest.Says(" 1\n"))
			},
			func(l lab) { l.guest.On("psql", guesttest.Says("2\n")) },
			`expect "psql" as postgres succeeds and says "1"`,
		},
		"file": {
			scenario.Expect{File: &scenario.Content{Path: "/etc/motd", Contains: "prod"}},
			func(l lab) { l.guest.SetFile("/etc/motd", 0o644, "this is prod") },
			func(l lab) { l.guest.SetFile("/etc/motd", 0o644, "this is test") },
			`expect /etc/motd contains "prod"`,
		},
		"missing file": {
			scenario.Expect{File: &scenario.Content{Path: "/etc/motd", Contains: "prod"}},
			func(l lab) { l.guest.SetFile("/etc/motd", 0o644, "prod") }, nil,
			`expect /etc/motd contains "prod"`,
		},
	}
	for name, test := range tests {
		for state, plant := range map[suite.State]func(lab){suite.Passed: test.good, suite.Failed: test.bad} {
			t.Run(name+" "+string(state), func(t *testing.T) {
				t.Parallel()
				l := healthy()
				l.Suites, l.Expect = nil, []scenario.Expect{test.expect}
				if plant != nil {
					plant(l)
				}
				report, err := l.run(t)
				if err != nil || len(report.Specs) != 1 {
					t.Fatalf("error %v, specs %v, want one", err, report.Specs)
				}
				got := report.Specs[0]
				if got.Name != test.title || got.State != state || got.Expectation != 0 {
					t.Errorf("%q %s, index %d (%s), want %q %s, index 0", got.Name, got.State, got.Expectation, got.Message,
						test.title, state)
				}
			})
		}
	}
}

// answer serves one request: / with the body, everything else with 404.
func answer(body string) func(net.Conn) {
	return func(conn net.Conn) {
		mux := http.NewServeMux()
		mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		once := make(chan net.Conn, 1)
		once <- conn
		_ = http.Serve(oneConn(once), mux)
	}
}

type oneConn chan net.Conn

func (o oneConn) Accept() (net.Conn, error) {
	select {
	case conn := <-o:
		return conn, nil
	default:
		return nil, io.EOF
	}
}
func (o oneConn) Close() error   { return nil }
func (o oneConn) Addr() net.Addr { return &net.TCPAddr{} }
