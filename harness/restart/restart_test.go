package restart_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/restart"
)

func stale(name string) fact.Fact { return fact.Fact{Kind: fact.KindStale, Name: name} }

func TestAdviceRestartsTheManagerFirstAndTheWayInLast(t *testing.T) {
	plan := restart.Advise(fact.NewSet(
		stale("ssh.service /usr/sbin/sshd /usr/lib/libcrypto.so.3"),
		stale("nginx.service /usr/sbin/nginx /usr/lib/libssl.so.3"),
		stale("nginx.service /usr/sbin/nginx /usr/lib/libcrypto.so.3"),
		stale("init.scope /usr/lib/systemd/systemd /usr/lib/libcrypto.so.3"),
		stale("dbus.service /usr/bin/dbus-daemon /usr/lib/libdbus-1.so.3"),
		stale("user-1000.slice /bin/bash /usr/lib/libc.so.6"),
	))
	want := restart.Plan{
		Units: []restart.Unit{
			{Name: "init.scope", Reason: "systemd maps the deleted libcrypto.so.3"},
			{Name: "nginx.service", Reason: "nginx maps the deleted libcrypto.so.3, nginx maps the deleted libssl.so.3"},
			{Name: "ssh.service", Reason: "sshd maps the deleted libcrypto.so.3"},
		},
		Reboot: []string{
			"dbus.service: clients of the message bus do not survive its restart (dbus-daemon maps the deleted libdbus-1.so.3)",
		},
		Sessions: []restart.Unit{{Name: "user-1000.slice", Reason: "bash maps the deleted libc.so.6"}},
	}
	if diff := cmp.Diff(want, plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	wantCommand := "systemctl daemon-reexec || echo 'failed init.scope'; " +
		"systemctl restart -- 'nginx.service' || echo 'failed nginx.service'; " +
		"systemctl restart -- 'ssh.service' || echo 'failed ssh.service'; "
	if diff := cmp.Diff(wantCommand, plan.Command()); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
}

func TestAKernelThatDoesNotRunYetNeedsAReboot(t *testing.T) {
	kernel := func(name, release string) fact.Fact {
		return fact.Fact{Kind: fact.KindKernel, Name: name, Attributes: map[string]string{"release": release}}
	}
	plan := restart.Advise(fact.NewSet(kernel("running", "6.1.0-50"), kernel("default", "6.1.0-51")))
	want := restart.Plan{Reboot: []string{"kernel 6.1.0-50 runs until the reboot, which starts 6.1.0-51"}}
	if diff := cmp.Diff(want, plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	same := restart.Advise(fact.NewSet(kernel("running", "6.1.0-50"), kernel("default", "6.1.0-50")))
	if diff := cmp.Diff(restart.Plan{}, same); diff != "" {
		t.Errorf("plan of the same kernel (-want +got):\n%s", diff)
	}
}

func TestNothingStaleNeedsNothing(t *testing.T) {
	if diff := cmp.Diff(restart.Plan{}, restart.Advise(fact.NewSet())); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestFailedRestartsAreNamed(t *testing.T) {
	got := restart.Failed("failed nginx.service\nsomething else\nfailed cron.service\n")
	if diff := cmp.Diff([]string{"nginx.service", "cron.service"}, got); diff != "" {
		t.Errorf("failed units (-want +got):\n%s", diff)
	}
}

func TestWhatServesAClientIsLeftAlone(t *testing.T) {
	const instance = "echo@0-127.0.0.1:7-127.0.0.1:41234.service"
	running := func(name string) fact.Fact {
		return fact.Fact{Kind: fact.KindUnit, Name: name, Attributes: map[string]string{"active": "active", "sub": "running"}}
	}
	facts := fact.NewSet(running("echo.socket"), running(instance), running("nginx.service"),
		stale(instance+" /usr/bin/socat1 /usr/lib/libssl.so.3"))
	left := []restart.Unit{{Name: instance, Reason: "socat1 maps the deleted libssl.so.3"}}
	if diff := cmp.Diff(restart.Plan{Connections: left}, restart.Advise(facts)); diff != "" {
		t.Errorf("advice (-want +got):\n%s", diff)
	}
	all := restart.Plan{
		Connections: left,
		Units:       []restart.Unit{{Name: "nginx.service", Reason: "the scenario restarts everything"}},
	}
	if diff := cmp.Diff(all, restart.All(facts)); diff != "" {
		t.Errorf("restart of everything (-want +got):\n%s", diff)
	}
	orphan := fact.NewSet(running("nginx.service"), stale(instance+" /usr/bin/socat1 /usr/lib/libssl.so.3"))
	if plan := restart.Advise(orphan); len(plan.Units) != 1 {
		t.Errorf("an instance that no socket made is restarted like any other: %+v", plan)
	}
}
