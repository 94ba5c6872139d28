package judge_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
)

func thing(kind fact.Kind, name string, pairs ...string) fact.Fact {
	f := fact.Fact{Kind: kind, Name: name, Attributes: map[string]string{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Attributes[pairs[i]] = pairs[i+1]
	}
	return f
}

// booted is a machine after a boot.
func booted() []fact.Fact {
	return []fact.Fact{
		thing("process", "nginx.service /usr/sbin/nginx", "users", "root"),
		thing("unit", "nginx.service", "active", "active", "enabled", "enabled"),
		thing("unit", "wanted.service", "active", "active", "enabled", "disabled"),
		thing("port", "tcp/*:80", "unit", "nginx.service", "executable", "/usr/sbin/nginx"),
		thing("sysctl", "vm.swappiness", "value", "60"),
		thing("sysctl", "fs.file-max", "value", "100"),
		thing("sysctl", "net.core.somaxconn", "value", "4096"),
		thing("address", "ens3 10.0.2.15/24", "dynamic", "true"),
		thing("mount", "/", "source", "/dev/vda1", "fstype", "ext4"),
	}
}

func TestWhatWasDoneByHandIsWhatABootDoesNotBring(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		live      []fact.Fact // beside what a boot brings
		elsewhere bool
		want      []string
	}{
		"nothing": {},
		"a daemon of a shell, with its port": {
			live: []fact.Fact{
				thing("process", "user-0.slice /usr/bin/socat", "users", "root", "detached", "true"),
				thing("port", "tcp/*:9000", "unit", "user-0.slice", "executable", "/usr/bin/socat"),
			},
			want: []string{"user-0.slice /usr/bin/socat: running as root, listening on tcp/*:9000"},
		},
		"a daemon without a unit": {
			live: []fact.Fact{thing("process", "- /opt/relay", "users", "relay")},
			want: []string{"- /opt/relay: running as relay"},
		},
		"what a script left behind": {
			live: []fact.Fact{thing("process", "patchlab-job-given.service /usr/bin/socat", "users", "root")},
			want: []string{"patchlab-job-given.service /usr/bin/socat: running as root"},
		},
		"people who are logged in, and what comes with a login": {
			live: []fact.Fact{
				thing("process", "user-1000.slice /usr/bin/bash", "users", "ops"),
				thing("process", "user-1000.slice /usr/bin/ssh-agent", "users", "ops", "detached", "true"),
			},
		},
		"a program that listens in a shell that is open": {
			live: []fact.Fact{
				thing("process", "user-1000.slice /usr/bin/python3", "users", "ops"),
				thing("port", "tcp/*:8000", "unit", "user-1000.slice", "executable", "/usr/bin/python3"),
			},
			want: []string{"user-1000.slice /usr/bin/python3: running as ops, listening on tcp/*:8000"},
		},
		"another copy of what a unit runs": {
			live: []fact.Fact{thing("process", "user-0.slice /usr/sbin/nginx", "users", "root", "detached", "true")},
		},
		"a session of screen": {
			live: []fact.Fact{thing("process", "user-1000.slice /usr/bin/screen", "users", "ops", "detached", "true")},
			want: []string{"user-1000.slice /usr/bin/screen: running as ops"},
		},
		"units that nothing starts": {
			live: []fact.Fact{
				thing("unit", "relay.service", "active", "active", "enabled", "disabled"),
				thing("unit", "oneday.service", "active", "active", "enabled", "transient"),
				thing("unit", "once.service", "active", "active", "enabled", "disabled", "type", "oneshot"),
				thing("unit", "static.service", "active", "active", "enabled", "static"),
				thing("unit", "off.service", "active", "inactive", "enabled", "disabled"),
			},
			want: []string{"oneday.service: active, transient", "relay.service: active, disabled"},
		},
		"settings": {
			live: []fact.Fact{
				thing("sysctl", "vm.swappiness", "value", "10"), thing("sysctl", "fs.file-max", "value", "900"),
				thing("sysctl", "net.core.somaxconn", "value", "8192", "configured", "8192"), thing("sysctl", "module.own", "value", "1"),
			},
			want: []string{"fs.file-max: 900", "vm.swappiness: 10"},
		},
		"what the kernel made of its free memory": {live: []fact.Fact{thing("sysctl", "fs.file-max", "value", "101")}},
		"settings of another machine": {
			live:      []fact.Fact{thing("sysctl", "vm.swappiness", "value", "10"), thing("sysctl", "fs.file-max", "value", "900")},
			elsewhere: true,
			want:      []string{"vm.swappiness: 10"},
		},
		"addresses": {
			live: []fact.Fact{
				thing("address", "ens3 192.0.2.10/24"), thing("address", "ens3 192.0.2.20/24", "dynamic", "true"),
				thing("address", "ens3 192.0.2.30/24", "configured", "/etc/network/interfaces"),
			},
			want: []string{"ens3 192.0.2.10/24: 192.0.2.10/24"},
		},
		"mounts": {
			live: []fact.Fact{
				thing("mount", "/mnt/back up", "source", "/dev/vdb1", "fstype", "ext4"),
				thing("unit", `mnt-back\x20up.mount`, "active", "active"),
				thing("mount", "/data", "source", "/dev/vdc1", "fstype", "ext4"),
				thing("unit", "data.mount", "active", "active", "fragment", "/run/systemd/generator/data.mount"),
			},
			want: []string{"/mnt/back up: /dev/vdb1 (ext4)"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live := map[fact.Key]fact.Fact{}
			for _, f := range append(booted(), tt.live...) {
				live[f.Key()] = f
			}
			var all []fact.Fact
			for _, f := range live {
				all = append(all, f)
			}
			var got []string
			for _, f := range judge.ByHand(fact.NewSet(all...), fact.NewSet(booted()...), tt.elsewhere) {
				if f.ID != "PL906" || f.Severity != "warning" || f.Remedy == "" || f.Is == "" || f.Title == "" {
					t.Errorf("finding %+v", f)
				}
				got = append(got, f.Subject.Name+": "+f.Was)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("by hand (-want +got):\n%s", diff)
			}
		})
	}
}

func running(release string) fact.Fact {
	return thing("kernel", "running", "release", release)
}

func TestSettingsOfTheKernelAreJudged(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		was, is []fact.Fact
		want    string // id, severity
	}{
		"a protection that protects less": {
			[]fact.Fact{thing("sysctl", "kernel.kptr_restrict", "value", "1")}, []fact.Fact{thing("sysctl", "kernel.kptr_restrict", "value", "0")}, "PL401 error",
		},
		"a protection that protects more": {
			[]fact.Fact{thing("sysctl", "kernel.kptr_restrict", "value", "1")}, []fact.Fact{thing("sysctl", "kernel.kptr_restrict", "value", "2")}, "PL307 warning",
		},
		"redirects are accepted now": {
			[]fact.Fact{thing("sysctl", "net.ipv4.conf.all.accept_redirects", "value", "0")},
			[]fact.Fact{thing("sysctl", "net.ipv4.conf.all.accept_redirects", "value", "1")},
			"PL401 error",
		},
		"another value": {
			[]fact.Fact{thing("sysctl", "vm.swappiness", "value", "60")}, []fact.Fact{thing("sysctl", "vm.swappiness", "value", "10")}, "PL307 warning",
		},
		"the default of another kernel": {
			[]fact.Fact{running("6.1"), thing("sysctl", "net.core.optmem_max", "value", "20480")},
			[]fact.Fact{running("6.12"), thing("sysctl", "net.core.optmem_max", "value", "131072")},
			"PL307 info",
		},
		"what is set, under another kernel": {
			[]fact.Fact{running("6.1"), thing("sysctl", "vm.swappiness", "value", "60", "configured", "60")},
			[]fact.Fact{running("6.12"), thing("sysctl", "vm.swappiness", "value", "10", "configured", "60")},
			"PL307 warning",
		},
		"a weaker default of another kernel": {
			[]fact.Fact{running("6.1"), thing("sysctl", "kernel.kptr_restrict", "value", "1")},
			[]fact.Fact{running("6.12"), thing("sysctl", "kernel.kptr_restrict", "value", "0")},
			"PL401 error",
		},
		"a value that another kernel does not tell": {
			[]fact.Fact{running("6.1"), thing("sysctl", "kernel.sched_energy_aware", "value", "1")},
			[]fact.Fact{running("6.12"), thing("sysctl", "kernel.sched_energy_aware")},
			"",
		},
		"a protection that the next boot takes away": {
			[]fact.Fact{thing("sysctl", "kernel.kptr_restrict", "value", "1")},
			[]fact.Fact{thing("sysctl", "kernel.kptr_restrict", "value", "1", "configured", "0")},
			"PL401 error",
		},
		"a value that the next boot sets": {
			[]fact.Fact{thing("sysctl", "vm.swappiness", "value", "60")},
			[]fact.Fact{thing("sysctl", "vm.swappiness", "value", "60", "configured", "10")},
			"PL307 info",
		},
		"a setting of a new module": {nil, []fact.Fact{thing("sysctl", "net.netfilter.nf_conntrack_max", "value", "1")}, ""},
		"what a router lends":       {[]fact.Fact{thing("address", "ens3 fec0::5/64", "dynamic", "true")}, nil, ""},
		"a lost address":            {[]fact.Fact{thing("address", "ens3 192.0.2.1/24")}, nil, "PL204 error"},
		"a new address":             {nil, []fact.Fact{thing("address", "ens3 192.0.2.1/24")}, "PL204 warning"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := judge.New(judge.Case{Baseline: fact.NewSet(tt.was...)})
			j.At(judge.Boundary{Phase: "apply", Increment: "a", Facts: fact.NewSet(tt.is...)})
			got := ""
			for _, f := range j.Findings() {
				if f.Subject.Kind == fact.KindKernel {
					continue
				}
				got += f.ID + " " + string(f.Severity)
			}
			if got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}
