package judge_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/verdict"
)

// system is the files of a server beside those in [webserver], whose nginx is what the candidate moves.
func system() []fact.Fact {
	return append(webserver(),
		f(fact.KindPackage, "coreutils:amd64", "version 9.1", "status installed"),
		f(fact.KindFile, "/", "type dir", "mode 0755", "owner root:root"),
		f(fact.KindFile, "/etc/ssh", "type dir", "mode 0755", "owner root:root"),
		f(fact.KindFile, "/usr/bin/ls", "type file", "sha256 ls", "mode 0755", "owner root:root", "package coreutils:amd64"),
		f(fact.KindFile, "/usr/bin/su", "type file", "sha256 su", "mode 4755", "owner root:root", "package coreutils:amd64"),
		f(fact.KindFile, "/usr/sbin/nginx", "type file", "sha256 ngx", "mode 0755", "owner root:root", "package nginx:amd64"),
		f(fact.KindFile, "/usr/sbin/nginx-helper", "type file", "sha256 hlp", "mode 4755", "owner root:root", "package nginx:amd64"),
		f(fact.KindFile, "/usr/lib/python3/x.py", "type file", "sha256 x", "mode 0644", "owner root:root", "package coreutils:amd64"),
		f(fact.KindFile, "/usr/local/bin/own", "type file", "sha256 own", "mode 0755", "owner root:root"),
		f(fact.KindFile, "/boot/initrd.img-6.1.0-50", "type file", "sha256 ini", "mode 0644", "owner root:root"),
		f(fact.KindFile, "/boot/grub/grub.cfg", "type file", "sha256 grb", "mode 0600", "owner root:root"),
		f(fact.KindFile, "/var/lib/dpkg/status", "type file", "sha256 sta", "mode 0644", "owner root:root"),
		f(fact.KindFile, "/var/lib/dpkg/info/coreutils.md5sums", "type file", "sha256 md5", "mode 0644", "owner root:root"),
		f(fact.KindFile, "/var/lib/app/db", "type file", "sha256 db", "mode 0600", "owner app:app"),
		f(fact.KindFile, "/var/lib/app", "type dir", "mode 0700", "owner app:app"),
		f(fact.KindFile, "/var/lib/gone/packaged", "type file", "sha256 p", "mode 0644", "owner root:root", "package coreutils:amd64"),
		f(fact.KindFile, "/home/ann/.ssh/authorized_keys", "type file", "sha256 key", "mode 0600", "owner ann:ann"),
		f(fact.KindFile, "/root/.profile", "type file", "sha256 pro", "mode 0644", "owner root:root"),
	)
}

// of overrides attributes of a fact of the system.
func of(name string, pairs ...string) fact.Fact {
	changed := f(fact.KindFile, name)
	for _, one := range system() {
		if one.Name == name {
			maps.Copy(changed.Attributes, one.Attributes)
		}
	}
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, " ")
		changed.Attributes[key] = value
	}
	return changed
}

func appears(name string, pairs ...string) fact.Fact {
	return f(fact.KindFile, name, append([]string{"type file", "mode 0644", "owner root:root", "sha256 new"}, pairs...)...)
}

func TestFilesOfTheWholeSystemAreJudged(t *testing.T) {
	linux := f(fact.KindPackage, "linux-image-6.1.0-51:amd64", "version 6.1.2", "status installed")
	tests := []struct {
		name string
		put  []fact.Fact
		drop []string
		want []string
	}{
		{"a program of the package that moved", []fact.Fact{of("/usr/sbin/nginx", "sha256 b")}, nil, nil},
		{"a new file of it", []fact.Fact{appears("/usr/share/doc/nginx/NEWS", "package nginx:amd64")}, nil, nil},
		{"a file that it takes over from another", []fact.Fact{of("/usr/bin/ls", "sha256 b", "package nginx:amd64")}, nil, nil},
		{"a program of another package", []fact.Fact{of("/usr/bin/ls", "sha256 b")}, nil, []string{"PL304 error /usr/bin/ls"}},
		{"the mode of such a program", []fact.Fact{of("/usr/bin/ls", "mode 0700")}, nil, []string{"PL304 error /usr/bin/ls"}},
		{"a program of another package is gone", nil, []string{"/usr/bin/ls"}, []string{"PL304 error /usr/bin/ls"}},
		{"a packaged file among data", []fact.Fact{of("/var/lib/gone/packaged", "sha256 b")}, nil, []string{"PL304 error /var/lib/gone/packaged"}},
		{"a set-uid program that nobody owns", []fact.Fact{appears("/usr/local/bin/x", "mode 4755")}, nil, []string{"PL402 error /usr/local/bin/x"}},
		{"one among data", []fact.Fact{appears("/var/tmp/.x", "mode 4755")}, nil, []string{"PL402 error /var/tmp/.x"}},
		{"a capability", []fact.Fact{of("/usr/bin/ls", "caps cap_setuid=ep")}, nil, []string{"PL402 error /usr/bin/ls"}},
		{"set-gid", []fact.Fact{of("/usr/local/bin/own", "mode 2755")}, nil, []string{"PL402 error /usr/local/bin/own"}},
		{"a set-uid program that was one is upgraded", []fact.Fact{of("/usr/sbin/nginx-helper", "sha256 b")}, nil, nil},
		{"another set-uid program of the package that moved", []fact.Fact{of("/usr/sbin/nginx", "mode 4755")}, nil, []string{"PL402 warning /usr/sbin/nginx"}},
		{"a program that lost its set-uid bit", []fact.Fact{of("/usr/bin/su", "mode 0755")}, nil, []string{"PL304 error /usr/bin/su"}},
		{"a set-gid directory", []fact.Fact{f(fact.KindFile, "/usr/local/share", "type dir", "mode 2775", "owner root:staff")}, nil, nil},
		{"everybody may write to the root directory", []fact.Fact{of("/", "mode 0777")}, nil, []string{"PL401 error /"}},
		{"everybody may write, but not delete", []fact.Fact{of("/var/lib/app", "mode 1777")}, nil, nil},
		{"everybody may write to a file of data", []fact.Fact{of("/var/lib/app/db", "mode 0666")}, nil, []string{"PL401 error /var/lib/app/db"}},
		{"a file for everybody where everybody has files", []fact.Fact{appears("/var/tmp/x.lock", "mode 0666")}, nil, nil},
		{"another mode of a directory", []fact.Fact{of("/etc/ssh", "mode 0700")}, nil, []string{"PL307 warning /etc/ssh"}},
		{"a new file in the system's places", []fact.Fact{appears("/usr/lib/x.so")}, nil, []string{"PL305 warning /usr/lib/x.so"}},
		{"a copied tree", []fact.Fact{
			appears("/usr/lib/x", "type dir"), appears("/usr/lib/x/y", "type dir"), appears("/usr/lib/x/y/1.ko"), appears("/usr/lib/x/y/2.ko"),
			appears("/usr/lib/x/3", "mode 4755"), appears("/usr/lib/x.so"),
		}, nil, []string{"PL402 error /usr/lib/x/3", "PL305 warning /usr/lib/x", "PL305 warning /usr/lib/x.so"}},
		{"one file in a new directory", []fact.Fact{appears("/usr/lib/x", "type dir"), appears("/usr/lib/x/1.ko")}, nil, []string{"PL305 warning /usr/lib/x/1.ko"}},
		{"one at the top", []fact.Fact{appears("/x")}, nil, []string{"PL305 warning /x"}},
		{"a file of the administrator's", []fact.Fact{of("/root/.profile", "sha256 b")}, nil, []string{"PL307 warning /root/.profile"}},
		{"data", []fact.Fact{of("/var/lib/app/db", "sha256 b"), appears("/var/log/x"), appears("/home/ann/x")}, []string{"/var/lib/dpkg/status"}, nil},
		{"what rpm knows", []fact.Fact{appears("/root/.rpmdb/rpmdb.sqlite"), appears("/usr/lib/sysimage/rpm/rpmdb.sqlite")}, nil, nil},
		{"a job of cron", []fact.Fact{appears("/var/spool/cron/crontabs/root")}, nil, []string{"PL305 warning /var/spool/cron/crontabs/root"}},
		{"a key to log in with", []fact.Fact{of("/home/ann/.ssh/authorized_keys", "sha256 b")}, nil, []string{"PL403 error /home/ann/.ssh/authorized_keys"}},
		{"what dpkg knows of the package", []fact.Fact{appears("/var/lib/dpkg/info/nginx:amd64.list"), appears("/var/lib/dpkg/info/nginx.md5sums"), appears("/var/lib/dpkg/info/nginx.postinst", "mode 0755")}, nil, nil},
		{
			"what dpkg knows of another",
			[]fact.Fact{of("/var/lib/dpkg/info/coreutils.md5sums", "sha256 b")},
			nil,
			[]string{"PL307 warning /var/lib/dpkg/info/coreutils.md5sums"},
		},
		{"what triggers make", []fact.Fact{
			appears("/usr/share/mime/mime.cache"), appears("/usr/share/mime/text/x-log.xml"), appears("/usr/lib/udev/hwdb.bin"),
			appears("/usr/share/info/dir"), appears("/usr/lib/python3/__pycache__/x.cpython-311.pyc"),
			of("/boot/initrd.img-6.1.0-50", "sha256 b"),
		}, nil, nil},
		{
			"byte code of a program that nobody owns",
			[]fact.Fact{appears("/usr/lib/python3/__pycache__/y.cpython-311.pyc")},
			nil,
			[]string{"PL305 warning /usr/lib/python3/__pycache__/y.cpython-311.pyc"},
		},
		{
			"an initrd for no kernel",
			[]fact.Fact{appears("/boot/initrd.img-6.1.0-51")},
			nil,
			[]string{"PL305 warning /boot/initrd.img-6.1.0-51"},
		},
		{"an initrd is gone", nil, []string{"/boot/initrd.img-6.1.0-50"}, []string{"PL307 warning /boot/initrd.img-6.1.0-50"}},
		{"the boot loader's configuration, without a kernel", []fact.Fact{of("/boot/grub/grub.cfg", "sha256 b")}, nil, []string{"PL307 warning /boot/grub/grub.cfg"}},
		{"all that comes with a kernel", []fact.Fact{
			linux, of("/boot/grub/grub.cfg", "sha256 b"), appears("/boot/initrd.img-6.1.0-51"),
			appears("/usr/lib/modules/6.1.0-51/modules.dep.bin"), f(fact.KindFile, "/vmlinuz", "type link", "target boot/vmlinuz-6.1.0-51"),
		}, nil, nil},
		{"an alternative of the package, with the link to it", []fact.Fact{
			f(fact.KindFile, "/etc/alternatives/httpd", "type link", "target /usr/sbin/nginx"),
			f(fact.KindFile, "/usr/sbin/httpd", "type link", "target /etc/alternatives/httpd"),
		}, nil, nil},
		{
			"an alternative of nobody's",
			[]fact.Fact{f(fact.KindFile, "/etc/alternatives/ls", "type link", "target /usr/local/bin/own")},
			nil,
			[]string{"PL305 warning /etc/alternatives/ls"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := judge.New(judge.Case{Baseline: fact.NewSet(system()...), Control: fact.NewSet(system()...)})
			e := edit{put: append(tt.put, upgraded), drop: tt.drop}
			j.At(judge.Boundary{Phase: "apply", Increment: "a", Facts: e.on(system())})
			if diff := cmp.Diff(tt.want, told(j.Findings())); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// told renders findings as "ID severity subject".
func told(findings []verdict.Finding) []string {
	var all []string
	for _, one := range findings {
		all = append(all, one.ID+" "+string(one.Severity)+" "+one.Subject.Name)
	}
	return all
}

func TestNothingIsExcusedByPackagesWhenNoneMoved(t *testing.T) {
	j := judge.New(judge.Case{Baseline: fact.NewSet(system()...), Control: fact.NewSet(system()...)})
	e := edit{put: []fact.Fact{appears("/usr/share/mime/mime.cache"), of("/boot/initrd.img-6.1.0-50", "sha256 b")}}
	j.At(judge.Boundary{Phase: "apply", Increment: "a", Facts: e.on(system())})
	want := []string{"PL305 warning /usr/share/mime/mime.cache", "PL307 warning /boot/initrd.img-6.1.0-50"}
	if diff := cmp.Diff(want, told(j.Findings())); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}
