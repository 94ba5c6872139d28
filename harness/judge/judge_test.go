package judge_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// f makes a fact from "key value" pairs.
func f(kind fact.Kind, name string, pairs ...string) fact.Fact {
	attributes := map[string]string{}
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, " ")
		attributes[key] = value
	}
	return fact.Fact{Kind: kind, Name: name, Attributes: attributes}
}

// webserver is a small healthy guest.
func webserver() []fact.Fact {
	return []fact.Fact{
		f(fact.KindPackage, "nginx:amd64", "version 1.22.1-9", "status installed"),
		f(fact.KindPackage, "libssl3:amd64", "version 3.0.20", "status installed"),
		f(fact.KindUnit, "nginx.service", "load loaded", "active active", "sub running", "enabled enabled", "type forking"),
		f(fact.KindUnit, "cron.service", "load loaded", "active active", "sub running", "enabled enabled", "type simple"),
		f(fact.KindUnit, "rsync.service", "load loaded", "active inactive", "sub dead", "enabled disabled", "type simple"),
		f(fact.KindUnit, "apt-daily.service", "load loaded", "active inactive", "sub dead", "enabled static", "type oneshot"),
		f(fact.KindUnit, "apt-daily.timer", "load loaded", "active active", "sub waiting", "enabled enabled"),
		f(fact.KindUnit, "network-online.target", "load loaded", "active active", "sub active", "enabled static"),
		f(fact.KindUnit, "idle.service", "load loaded", "active inactive", "sub dead", "enabled static", "type simple"),
		f(fact.KindUnit, "idle.socket", "load loaded", "active active", "sub listening", "enabled static"),
		f(fact.KindUnit, "fsckd.service", "load loaded", "active active", "sub running", "enabled static", "type simple"),
		f(fact.KindUnit, "fsckd.socket", "load loaded", "active active", "sub listening", "enabled static"),
		f(fact.KindProcess, "fsckd.service /usr/lib/fsckd", "count 1", "users root"),
		f(fact.KindProcess, "nginx.service /usr/sbin/nginx", "count 3", "users root,www-data", "pids 1,2,3"),
		f(fact.KindPort, "tcp/*:80", "unit nginx.service", "executable /usr/sbin/nginx", "user root"),
		f(fact.KindPort, "tcp/127.0.0.1:5432", "unit postgresql.service", "executable /usr/bin/postgres", "user postgres"),
		f(fact.KindPort, "udp/*:40001", "unit dhclient.service", "executable /sbin/dhclient", "user root"),
		f(fact.KindFile, "/etc/nginx/nginx.conf", "type file", "sha256 aaa", "conffile aaa", "package nginx", "mode 0644"),
		f(fact.KindFile, "/etc/nginx/edited.conf", "type file", "sha256 mine", "conffile aaa", "edited true", "package nginx:amd64", "mode 0644"),
		f(fact.KindFile, "/etc/crontab", "type file", "sha256 ccc", "conffile ccc", "package cron", "mode 0644"),
		f(fact.KindFile, "/etc/motd.local", "type file", "sha256 mmm", "mode 0644"),
		f(fact.KindFile, "/etc/systemd/system/multi-user.target.wants/nginx.service", "type link",
			"target /lib/systemd/system/nginx.service"),
		f(fact.KindFile, "/etc/rc3.d/S01nginx", "type link", "target ../init.d/nginx"),
		f(fact.KindUser, "root", "uid 0", "gid 0", "shell /bin/bash", "locked true"),
		f(fact.KindMount, "/", "source /dev/vda1", "fstype ext4", "options rw,relatime"),
		f(fact.KindKernel, "running", "release 6.1.0-50"),
		f(fact.KindKernel, "default", "release 6.1.0-50"),
		f(fact.KindKernel, "installed:6.1.0-50", "release 6.1.0-50", "initrd /boot/initrd.img-6.1.0-50"),
	}
}

// edit is a change of the guest: facts to put, and names to take away (with a leading minus).
type edit struct {
	put  []fact.Fact
	drop []string
}

func (e edit) on(facts []fact.Fact) fact.Set {
	kept := slices.DeleteFunc(slices.Clone(facts), func(f fact.Fact) bool { return slices.Contains(e.drop, f.Name) })
	return fact.NewSet(append(kept, e.put...)...)
}

// with copies a fact of the web server and overrides attributes.
func with(name string, pairs ...string) fact.Fact {
	facts := webserver()
	i := slices.IndexFunc(facts, func(f fact.Fact) bool { return f.Name == name })
	changed := facts[i]
	changed.Attributes = maps.Clone(changed.Attributes)
	maps.Copy(changed.Attributes, f("", "", pairs...).Attributes)
	return changed
}

var (
	upgraded = with("nginx:amd64", "version 1.22.1-10")
	stopped  = with("nginx.service", "active inactive", "sub dead")
	disabled = with("nginx.service", "enabled disabled")
)

func TestDriftBecomesTheFindingThatAnAdministratorExpects(t *testing.T) {
	tests := []struct {
		name     string
		edit     edit
		rebooted bool
		want     []string // "ID severity subject"
	}{
		{"nothing changed", edit{}, false, nil},
		{"a package was upgraded", edit{put: []fact.Fact{upgraded}}, false, nil},
		{
			"a service was stopped, with its port and processes",
			edit{put: []fact.Fact{stopped}, drop: []string{"tcp/*:80", "nginx.service /usr/sbin/nginx"}},
			false,
			[]string{"PL101 error nginx.service", "PL201 error tcp/*:80"},
		},
		{
			"a service still runs but is not enabled any more, with the links that say so",
			edit{put: []fact.Fact{disabled}, drop: []string{
				"/etc/systemd/system/multi-user.target.wants/nginx.service", "/etc/rc3.d/S01nginx",
			}},
			false,
			[]string{"PL103 error nginx.service"},
		},
		{
			"a service that was disabled did not come back",
			edit{put: []fact.Fact{with("nginx.service", "active inactive", "enabled disabled")}, drop: []string{"tcp/*:80"}},
			true,
			[]string{"PL101 error nginx.service", "PL103 error nginx.service", "PL201 error tcp/*:80"},
		},
		{
			"a service failed",
			edit{put: []fact.Fact{with("nginx.service", "active failed", "result exit-code")}},
			false,
			[]string{"PL101 error nginx.service"},
		},
		{
			"a service restarts in a loop",
			edit{put: []fact.Fact{with("nginx.service", "active activating", "sub auto-restart")}},
			false,
			[]string{"PL104 error nginx.service"},
		},
		{
			"nobody wants a target any more",
			edit{put: []fact.Fact{with("network-online.target", "active inactive", "sub dead")}},
			true,
			[]string{"PL101 warning network-online.target"},
		},
		{
			"a service that a socket starts ended by itself",
			edit{
				put:  []fact.Fact{with("fsckd.service", "active inactive", "sub dead", "result success")},
				drop: []string{"fsckd.service /usr/lib/fsckd"},
			},
			false, nil,
		},
		{
			"a service that a socket starts was asked for",
			edit{put: []fact.Fact{with("idle.service", "active active", "sub running")}},
			true, nil,
		},
		{
			"a service that a socket starts ended, and the socket with it",
			edit{put: []fact.Fact{
				with("fsckd.service", "active inactive", "sub dead"), with("fsckd.socket", "active inactive", "sub dead"),
			}},
			false,
			[]string{"PL101 error fsckd.service", "PL101 error fsckd.socket"},
		},
		{
			"a daemon that was off was started and enabled, and listens",
			edit{put: []fact.Fact{
				with("rsync.service", "active active", "sub running", "enabled enabled"),
				f(fact.KindPort, "tcp/*:873", "unit rsync.service", "executable /usr/bin/rsync"),
			}},
			false,
			[]string{"PL102 error rsync.service", "PL202 error tcp/*:873"},
		},
		{
			"a new timer appeared",
			edit{put: []fact.Fact{f(fact.KindUnit, "evil.timer", "load loaded", "active active", "enabled enabled")}},
			false,
			[]string{"PL106 error evil.timer"},
		},
		{
			"a oneshot that a timer starts runs just now",
			edit{put: []fact.Fact{with("apt-daily.service", "active activating", "sub start")}},
			false, nil,
		},
		{
			"a oneshot that a timer starts has failed",
			edit{put: []fact.Fact{with("apt-daily.service", "active failed", "result exit-code")}},
			false,
			[]string{"PL104 error apt-daily.service"},
		},
		{
			"a port moved",
			edit{
				put:  []fact.Fact{f(fact.KindPort, "tcp/*:8080", "unit nginx.service", "executable /usr/sbin/nginx")},
				drop: []string{"tcp/*:80"},
			},
			false,
			[]string{"PL201 error tcp/*:80", "PL202 error tcp/*:8080"},
		},
		{
			"a daemon on loopback listens to the world",
			edit{
				put:  []fact.Fact{f(fact.KindPort, "tcp/*:5432", "unit postgresql.service")},
				drop: []string{"tcp/127.0.0.1:5432"},
			},
			false,
			[]string{"PL203 error tcp/*:5432"},
		},
		{
			"a program let the kernel choose another port",
			edit{
				put: []fact.Fact{f(fact.KindPort, "udp/*:51234", "unit dhclient.service", "executable /sbin/dhclient",
					"user root")},
				drop: []string{"udp/*:40001"},
			},
			true, nil,
		},
		{
			"an unedited conffile follows its package",
			edit{put: []fact.Fact{upgraded, with("/etc/nginx/nginx.conf", "sha256 bbb", "conffile bbb")}},
			false, nil,
		},
		{
			"an edited conffile was overwritten",
			edit{put: []fact.Fact{upgraded, with("/etc/nginx/edited.conf", "sha256 bbb", "conffile bbb")}},
			false,
			[]string{"PL301 error /etc/nginx/edited.conf"},
		},
		{
			"a file of a package that nobody touched was changed",
			edit{put: []fact.Fact{upgraded, with("/etc/crontab", "sha256 ddd")}},
			false,
			[]string{"PL304 error /etc/crontab"},
		},
		{
			"an unowned file appeared, and dpkg kept the other version of one",
			edit{put: []fact.Fact{
				upgraded, f(fact.KindFile, "/etc/new", "type file", "sha256 x"),
				f(fact.KindFile, "/etc/nginx/edited.conf.dpkg-dist", "type file", "sha256 y"),
				f(fact.KindFile, "/etc/nginx/nginx.conf.dpkg-new", "type file", "sha256 z"),
			}},
			false,
			[]string{
				"PL305 warning /etc/new", "PL305 info /etc/nginx/edited.conf.dpkg-dist", "PL305 info /etc/nginx/nginx.conf.dpkg-new",
			},
		},
		{
			"a second root appeared",
			edit{put: []fact.Fact{upgraded, f(fact.KindUser, "toor", "uid 0", "shell /bin/sh", "locked false")}},
			false,
			[]string{"PL403 error toor"},
		},
		{
			"a package brought its system account",
			edit{put: []fact.Fact{upgraded, f(fact.KindUser, "_www", "uid 105", "shell /usr/sbin/nologin", "locked true")}},
			false, nil,
		},
		{"a package was removed", edit{drop: []string{"libssl3:amd64"}}, false, []string{"PL501 error libssl3:amd64"}},
		{
			"a package is left half configured",
			edit{put: []fact.Fact{with("nginx:amd64", "version 1.22.1-10", "status half-configured")}},
			false,
			[]string{"PL502 error nginx:amd64"},
		},
		{
			"a mount is gone, and the root file system read-only",
			edit{put: []fact.Fact{with("/", "options ro,relatime")}},
			false,
			[]string{"PL804 error /"},
		},
		{
			"another kernel runs than those that are installed",
			edit{put: []fact.Fact{with("running", "release 6.1.0-51")}},
			true,
			[]string{"PL709 error running"},
		},
		{
			"a new kernel that runs",
			edit{put: []fact.Fact{
				f(fact.KindKernel, "installed:6.1.0-51", "release 6.1.0-51", "initrd /boot/i"),
				with("default", "release 6.1.0-51"), with("running", "release 6.1.0-51"),
			}},
			true, nil,
		},
		{"what the boot loader starts is for the audit", edit{drop: []string{"default"}}, false, nil},
		{
			"the same kernel with another command line",
			edit{put: []fact.Fact{with("default", "cmdline root=/dev/vda1 mitigations=off")}},
			false,
			[]string{"PL401 warning default"},
		},
		{
			"a daemon was not restarted",
			edit{put: []fact.Fact{f(fact.KindStale, "nginx.service /usr/sbin/nginx /usr/lib/libssl.so.3", "pids 7")}},
			true,
			[]string{"PL601 error nginx.service"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			baseline := fact.NewSet(webserver()...)
			j := judge.New(judge.Case{Baseline: baseline, Control: baseline})
			j.At(judge.Boundary{Phase: "apply", Increment: "one", Rebooted: tt.rebooted, Facts: tt.edit.on(webserver())})
			var got []string
			for _, f := range j.Findings() {
				got = append(got, f.ID+" "+string(f.Severity)+" "+f.Subject.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryDriftGetsAClassAndAReason(t *testing.T) {
	everything := edit{
		put: []fact.Fact{
			upgraded, stopped, with("/etc/nginx/nginx.conf", "sha256 bbb"), f("novelty", "thing"),
			with("nginx.service /usr/sbin/nginx", "users root"),
		},
		drop: []string{"/etc/motd.local"},
	}
	baseline := fact.NewSet(webserver()...)
	j := judge.New(judge.Case{Baseline: baseline, Control: baseline})
	drifts := j.At(judge.Boundary{Phase: "apply", Increment: "one", Facts: everything.on(webserver())})
	if len(drifts) != 6 {
		t.Fatalf("%d drifts, want 6: %v", len(drifts), drifts)
	}
	for _, d := range drifts {
		if d.Class == drift.Unclassed || d.Class != drift.Finding && d.Reason == "" || d.Class == drift.Finding && d.ID == "" {
			t.Errorf("%s has class %q, reason %q, finding %q", d.Key, d.Class, d.Reason, d.ID)
		}
	}
}

func TestWhatTheUnpatchedControlBreaksIsOldRot(t *testing.T) {
	rotten := edit{put: []fact.Fact{with("cron.service", "active failed", "result exit-code")}}
	both := edit{put: append([]fact.Fact{upgraded, disabled}, rotten.put...)}
	j := judge.New(judge.Case{Baseline: fact.NewSet(webserver()...), Control: rotten.on(webserver())})
	j.At(judge.Boundary{Phase: "apply", Increment: "one", Facts: edit{put: []fact.Fact{upgraded, disabled}}.on(webserver())})
	j.At(judge.Boundary{Phase: "reboot", Rebooted: true, Facts: both.on(webserver())})
	var got []string
	for _, f := range j.Findings() {
		got = append(got, f.ID+" "+f.Subject.Name+" blamed="+map[bool]string{true: "yes", false: "no"}[f.Blamed()])
		if entry, _ := verdict.Lookup(f.ID); f.Remedy != entry.Remedy {
			t.Errorf("the remedy of %s is %q, not its own", f.ID, f.Remedy)
		}
	}
	want := []string{"PL103 nginx.service blamed=yes", "PL108 cron.service blamed=no"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestAnOverwrittenFileNamesItsPackageAsPeopleCallIt(t *testing.T) {
	baseline := fact.NewSet(webserver()...)
	j := judge.New(judge.Case{Baseline: baseline, Control: baseline})
	overwritten := edit{put: []fact.Fact{upgraded, with("/etc/nginx/edited.conf", "sha256 bbb")}}
	j.At(judge.Boundary{Phase: "apply", Increment: "one", Facts: overwritten.on(webserver())})
	found := j.Findings()
	if len(found) != 1 || found[0].Package != "nginx" || found[0].Title != "your edited /etc/nginx/edited.conf was overwritten by nginx" {
		t.Errorf("findings are %+v", found)
	}
}

func TestAServiceThatWentWithItsPackageSaysSo(t *testing.T) {
	baseline := fact.NewSet(webserver()...)
	j := judge.New(judge.Case{Baseline: baseline, Control: baseline})
	removed := edit{drop: []string{"nginx:amd64", "nginx.service", "nginx.service /usr/sbin/nginx", "tcp/*:80"}}
	j.At(judge.Boundary{Phase: "apply", Increment: "one", Facts: removed.on(webserver())})
	got := map[string]string{}
	for _, f := range j.Findings() {
		got[f.ID] = f.Cause
	}
	want := map[string]string{
		"PL101": "package nginx was removed (PL501)", "PL201": "nginx.service held it (PL101)", "PL501": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
}

func TestFindingsNameTheIncrementAndThePhaseThatShowedThemFirst(t *testing.T) {
	baseline := fact.NewSet(webserver()...)
	j := judge.New(judge.Case{Baseline: baseline, Control: baseline})
	library := with("libssl3:amd64", "version 3.0.22")
	down := with("cron.service", "active inactive")
	// The first increment leaves cron down until settling starts it again; the second disables nginx.
	j.At(judge.Boundary{Phase: "apply", Increment: "a", Facts: edit{put: []fact.Fact{library, down}}.on(webserver())})
	j.At(judge.Boundary{Phase: "settle", Increment: "a", Facts: edit{put: []fact.Fact{library}}.on(webserver())})
	j.At(judge.Boundary{Phase: "apply", Increment: "b", Facts: edit{put: []fact.Fact{library, disabled}}.on(webserver())})
	j.At(judge.Boundary{Phase: "settle", Increment: "b", Facts: edit{put: []fact.Fact{library, disabled}}.on(webserver())})
	gone := with("nginx.service", "active inactive", "enabled disabled")
	j.At(judge.Boundary{Phase: "reboot", Rebooted: true, Facts: edit{
		put: []fact.Fact{library, gone}, drop: []string{"tcp/*:80"},
	}.on(webserver())})
	var got []string
	for _, f := range j.Findings() {
		got = append(got, strings.Join([]string{f.ID, f.Phase, f.Increment, f.Subject.Name}, " "))
	}
	want := []string{
		"PL101 reboot b nginx.service", "PL103 apply b nginx.service", "PL201 reboot b tcp/*:80",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestStaleProcessesArePendingThenFaultsByPolicy(t *testing.T) {
	stale := edit{put: []fact.Fact{f(fact.KindStale, "nginx.service /usr/sbin/nginx /lib/libssl.so.3")}}
	baseline := fact.NewSet(webserver()...)
	tests := []struct {
		name      string
		policy    scenario.Restart
		restarted bool
		pending   bool
		want      []string
	}{
		{"pending", scenario.RestartAdvised, false, true, nil},
		{"not restarted, a reboot is advised", scenario.RestartAdvised, false, false, []string{"PL601 warning"}},
		{"restarted in vain", scenario.RestartAdvised, true, false, []string{"PL602 error"}},
		{"restarts forbidden", scenario.RestartNone, false, true, []string{"PL601 error"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := judge.New(judge.Case{Baseline: baseline, Control: baseline, Restart: tt.policy})
			if tt.restarted {
				j.Restarted("nginx.service")
			}
			j.At(judge.Boundary{Phase: "settle", RestartsPending: tt.pending, Facts: stale.on(webserver())})
			var got []string
			for _, f := range j.Findings() {
				got = append(got, f.ID+" "+string(f.Severity))
				if advised := strings.HasPrefix(f.Remedy, "Reboot"); advised != (f.Severity == verdict.Warning) {
					t.Errorf("the remedy of a %s is %q", f.Severity, f.Remedy)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAllowancesAllowWhatTheyNameUntilTheyExpire(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	admin := scenario.Allowance{
		Kind: "port", Name: "tcp/*:8080", Change: "added", Reason: "admin page", Owner: "web team",
		Until: scenario.Date{Time: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)},
	}
	old := admin
	old.Until = scenario.Date{Time: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)}
	unused := admin
	unused.Name = "tcp/*:9090"
	opened := edit{put: []fact.Fact{f(fact.KindPort, "tcp/*:8080", "executable /usr/sbin/nginx")}}
	tests := []struct {
		name       string
		allowances []scenario.Allowance
		want       []string
	}{
		{"announced", []scenario.Allowance{admin}, nil},
		{"expired yesterday", []scenario.Allowance{old}, []string{"PL202 error", "PL902 warning"}},
		{"never matching", []scenario.Allowance{admin, unused}, []string{"PL902 warning"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			baseline := fact.NewSet(webserver()...)
			j := judge.New(judge.Case{Baseline: baseline, Control: baseline, Allowances: tt.allowances, Now: now})
			j.At(judge.Boundary{Phase: "apply", Increment: "one", Facts: opened.on(webserver())})
			var got []string
			for _, f := range j.Findings() {
				got = append(got, f.ID+" "+string(f.Severity))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
