package collect

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/systemd"
)

const (
	libDir = "/usr/lib/systemd/system/"
	etcDir = "/etc/systemd/system/"
	runDir = "/run/systemd/"
)

func TestUnitFileStatesFollowSystemdsRules(t *testing.T) {
	const installable = "[Service]\nType=forking\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n"
	root := tree(t, map[string]string{
		"/lib":                "-> usr/lib",
		libDir + "on.service": installable,
		etcDir + "multi-user.target.wants/on.service":           "-> /lib/systemd/system/on.service",
		libDir + "off.service":                                  installable,
		libDir + "static.service":                               "[Service]\nExecStart=/x\n",
		libDir + "also.service":                                 "[Service]\nExecStart=/x\n[Install]\nAlso=on.service\n",
		libDir + "masked.service":                               installable,
		etcDir + "masked.service":                               "-> /dev/null",
		runDir + "system/hidden.service":                        "-> /dev/null",
		etcDir + "empty.service":                                "",
		libDir + "real.service":                                 "[Service]\nBusName=org.x\nExecStart=/x\n[Install]\nAlias=dbus-org.x.service\n",
		etcDir + "dbus-org.x.service":                           "-> /lib/systemd/system/real.service",
		libDir + "other-name.service":                           "-> real.service",
		runDir + "generator.late/sysv.service":                  "[Service]\nType=forking\nExecStart=/x\n",
		runDir + "transient/now.service":                        "[Service]\nExecStart=/x\n",
		libDir + "fsck.service":                                 "[Service]\nType=oneshot\n",
		runDir + "generator/local-fs.target.wants/fsck.service": "-> /lib/systemd/system/fsck.service",
		etcDir + "linked.service":                               "-> /opt/app/linked.service",
		"/opt/app/linked.service":                               "[Service]\nExecStart=/x\n",
		libDir + "getty@.service":                               "[Service]\nType=idle\nExecStart=/x\n[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
		etcDir + "getty.target.wants/getty@tty1.service":        "-> /lib/systemd/system/getty@.service",
		libDir + "vpn@.service":                                 installable,
		etcDir + "multi-user.target.wants/vpn@home.service":     "-> /lib/systemd/system/vpn@.service",
		libDir + "vendor.service":                               "[Service]\nExecStart=/x\n",
		libDir + "sysinit.target.wants/vendor.service":          "-> ../vendor.service",
		libDir + "dropped.service":                              "[Service]\nExecStart=/x\n",
		etcDir + "dropped.service.d/type.conf":                  "[Service]\nType=notify\n",
		libDir + "x.slice":                                      "",
	})
	want := map[string]string{
		"on.service": "enabled forking", "off.service": "disabled forking", "static.service": "static simple",
		"also.service": "indirect simple", "masked.service": "masked ", "hidden.service": "masked-runtime ",
		"empty.service": "masked ", "real.service": "enabled dbus", "dbus-org.x.service": "alias ",
		"other-name.service": "alias ", "sysv.service": "generated forking", "now.service": "transient simple",
		"fsck.service": "enabled-runtime oneshot", "getty@.service": "enabled idle", "getty@tty1.service": "enabled idle",
		"vpn@.service": "indirect forking", "vpn@home.service": "enabled forking", "vendor.service": "static simple",
		"dropped.service": "static notify", "linked.service": "linked ",
	}
	got := map[string]string{}
	for _, f := range collected(t, NewSource(root, &manager{}, 0), units) {
		got[f.Name] = f.Attributes["enabled"] + " " + f.Attributes["type"]
	}
	delete(got, "linked.service") // its target lies outside of the tree, so that its type cannot be read here
	delete(want, "linked.service")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnitsReadTheSameWhetherSystemdKeepsThemInMemoryOrNot(t *testing.T) {
	root := tree(t, map[string]string{
		libDir + "job.service":     "[Service]\nType=oneshot\nExecStart=/x\n",
		libDir + "module@.service": "[Service]\nExecStart=/x\n",
		libDir + "one.target":      "[Unit]\n",
		etcDir + "gone.service":    "-> /dev/null",
	})
	var read [2][]fact.Fact
	for i, loaded := range [][]systemd.Unit{nil, {
		{Name: "job.service", Load: "loaded", Active: "inactive", Sub: "dead"},
		{Name: "one.target", Load: "loaded", Active: "inactive", Sub: "dead"},
		{Name: "gone.service", Load: "masked", Active: "inactive", Sub: "dead"},
		{Name: "module@fuse.service", Load: "loaded", Active: "inactive", Sub: "dead"},
		{Name: "wished-for.service", Load: "not-found", Active: "inactive", Sub: "dead"},
	}} {
		read[i] = collected(t, NewSource(root, &manager{units: loaded}, 0), units)
	}
	if diff := cmp.Diff(read[0], read[1]); diff != "" {
		t.Error(diff)
	}
	want := []fact.Fact{
		named("unit", "gone.service", "load", "masked", "active", "inactive", "sub", "dead", "result", "success",
			"enabled", "masked", "fragment", etcDir+"gone.service"),
		named("unit", "job.service", "load", "loaded", "active", "inactive", "sub", "dead", "result", "success",
			"enabled", "static", "type", "oneshot", "fragment", libDir+"job.service"),
		named("unit", "module@.service", "enabled", "static", "type", "simple", "fragment", libDir+"module@.service"),
		named("unit", "one.target", "load", "loaded", "active", "inactive", "sub", "dead", "enabled", "static",
			"fragment", libDir+"one.target"),
	}
	if diff := cmp.Diff(want, read[0]); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyUnitsInTroubleAreAskedForTheirResult(t *testing.T) {
	m := &manager{
		units: []systemd.Unit{
			{Name: "well.service", Load: "loaded", Active: "active", Sub: "running"},
			{Name: "sick.service", Load: "loaded", Active: "failed", Sub: "failed"},
			{Name: "again.service", Load: "loaded", Active: "activating", Sub: "auto-restart"},
			{Name: "lost.service", Load: "not-found", Active: "active", Sub: "running"},
			{Name: "patchlab-job-a.service", Load: "loaded", Active: "active", Sub: "running"},
			{Name: "run-patchlab.mount", Load: "loaded", Active: "active", Sub: "mounted"},
			{Name: "ssh@0-10.0.2.15:22-10.0.2.2:4000.service", Load: "loaded", Active: "active", Sub: "running"},
		},
		results: map[string]string{"sick.service": "exit-code", "again.service": "timeout"},
	}
	got := collected(t, NewSource(t.TempDir(), m, 0), units)
	want := []fact.Fact{
		named("unit", "again.service", "load", "loaded", "active", "activating", "sub", "auto-restart", "result", "timeout"),
		named("unit", "lost.service", "load", "not-found", "active", "active", "sub", "running", "result", "success"),
		named("unit", "sick.service", "load", "loaded", "active", "failed", "sub", "failed", "result", "exit-code"),
		named("unit", "well.service", "load", "loaded", "active", "active", "sub", "running", "result", "success"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"sick.service", "again.service"}, m.asked); diff != "" {
		t.Error("asked:", diff)
	}
}
