package collect

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
)

// proc describes one process of a made-up machine.
type proc struct {
	pid, parent, terminal, uid int
	exe, cgroup                string
	maps                       string
	sockets                    []string // inodes
	kernel                     bool
}

func (p proc) files() map[string]string {
	dir := fmt.Sprintf("/proc/%d/", p.pid)
	flags := 0x400000
	if p.kernel {
		flags |= flagKernelThread
	}
	files := map[string]string{
		dir + "stat":   fmt.Sprintf("%d (a) b (c) S %d 1 1 %d -1 %d 0 0\n", p.pid, p.parent, p.terminal, flags),
		dir + "status": fmt.Sprintf("Name:\ta\nUmask:\t0022\nUid:\t0\t%d\t0\t0\nGid:\t0\t0\t0\t0\n", p.uid),
		dir + "cgroup": "0::" + p.cgroup + "\n",
		dir + "maps":   p.maps,
		dir + "fd/":    "",
	}
	if p.exe != "" {
		files[dir+"exe"] = "-> " + p.exe
	}
	for i, inode := range p.sockets {
		files[fmt.Sprintf("%sfd/%d", dir, i)] = "-> socket:[" + inode + "]"
	}
	return files
}

const (
	libcryptoDeleted = "7f0000000000-7f0000001000 r-xp 00001000 fe:01 77  /usr/lib/libcrypto.so.3 (deleted)\n"
	session          = "/user.slice/user-0.slice/session-7.scope"
	pts3             = 136<<8 | 3
)

// machine is a small server on which somebody looks: pid 900 is the probe.
var machine = func() map[string]string {
	all := map[string]string{
		"/etc/passwd": "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n",
		"/etc/group":  "root:x:0:\nwww-data:x:33:\nadm:x:4:root,www-data\n",
		"/etc/shadow": "root:!:1::::::\nwww-data:*:1::::::\n",
		"/proc/net/tcp": "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
			"   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0 100 0 0 10 0\n" +
			"   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0\n" +
			"   2: 0100007F:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100 0 0 10 0\n" +
			"   3: 0100007F:9000 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 103 1 0 100 0 0 10 0\n",
		"/proc/net/tcp6": "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 104 1\n" +
			"   1: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 105 1\n",
		"/proc/net/udp": "  9: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 106 2 0 0\n",
		"/proc/net/unix": "Num       RefCount Protocol Flags    Type St Inode Path\n" +
			"0000: 00000002 00000000 00010000 0001 01 107 /run/app.sock\n" +
			"0000: 00000002 00000000 00000000 0002 01 108 /run/datagram.sock\n" +
			"0000: 00000002 00000000 00010000 0001 01 109 /run/user/0/bus\n" +
			"0000: 00000002 00000000 00010000 0001 01 110 @abstract\n" +
			"0000: 00000003 00000000 00000000 0001 03 111\n",
	}
	for _, p := range []proc{
		{pid: 1, exe: "/usr/lib/systemd/systemd", cgroup: "/init.scope", sockets: []string{"107"}},
		{pid: 2, kernel: true, cgroup: "/"},
		{pid: 60, parent: 1, exe: "/usr/bin/udevadm (deleted)", cgroup: "/init.scope", sockets: []string{"107"}, maps: libcryptoDeleted},
		{pid: 9, parent: 2, kernel: true, cgroup: "/"},
		{
			pid: 100, parent: 1, exe: "/usr/sbin/nginx (deleted)", cgroup: "/system.slice/nginx.service",
			sockets: []string{"100", "104"},
			maps: "55550000-55560000 r-xp 00000000 fe:01 5   /usr/sbin/nginx (deleted)\n" + libcryptoDeleted + libcryptoDeleted +
				"7f1000000000-7f1000001000 r--p 00000000 fe:01 78  /usr/lib/libdata.so (deleted)\n" +
				"7f2000000000-7f2000001000 rwxs 00000000 00:01 79  /dev/zero (deleted)\n" +
				"7f3000000000-7f3000001000 r-xs 00000000 00:01 80  /memfd:jit (deleted)\n" +
				"7f4000000000-7f4000001000 r-xp 00000000 00:00 0   [vdso]\n",
		},
		{
			pid: 101, parent: 100, uid: 33, exe: "/usr/sbin/nginx (deleted)", cgroup: "/system.slice/nginx.service",
			sockets: []string{"100", "104"}, maps: libcryptoDeleted,
		},
		{pid: 110, parent: 1, exe: "/usr/bin/app", cgroup: "/system.slice/app.service/sub", sockets: []string{"101", "107"}},
		{pid: 120, parent: 1, exe: "/usr/sbin/sshd", cgroup: "/system.slice/ssh.service", sockets: []string{"105"}},
		{pid: 130, parent: 1, exe: "/usr/bin/udevadm", cgroup: "/system.slice/systemd-udevd.service/udev"},
		{pid: 131, parent: 130, exe: "/usr/bin/udevadm", cgroup: "/system.slice/systemd-udevd.service/udev"},
		// An administrator at a terminal, with an old library.
		{pid: 200, parent: 120, exe: "/usr/sbin/sshd", cgroup: "/user.slice/user-0.slice/session-3.scope"},
		{
			pid: 201, parent: 200, terminal: pts3, exe: "/usr/bin/bash", cgroup: "/user.slice/user-0.slice/session-3.scope",
			maps: libcryptoDeleted,
		},
		// What somebody started by hand and left behind.
		{pid: 300, parent: 1, exe: "/opt/by hand", cgroup: session},
		// A job of patchlab's, and what it left behind.
		{pid: 400, parent: 1, exe: "/run/patchlab/probe-0123", cgroup: "/system.slice/patchlab-job-a.service"},
		{pid: 401, parent: 400, exe: "/usr/bin/apt", cgroup: "/system.slice/patchlab-job-a.service"},
		{pid: 402, parent: 1, exe: "/usr/bin/left", cgroup: "/system.slice/patchlab-job-a.service"},
		// The probe's own login, another channel of it, and the user's manager that it brought up.
		{pid: 800, parent: 1, exe: "/usr/lib/systemd/systemd", cgroup: "/user.slice/user-0.slice/user@0.service/init.scope"},
		{pid: 801, parent: 120, exe: "/usr/sbin/sshd", cgroup: session, sockets: []string{"103"}, maps: libcryptoDeleted},
		{pid: 802, parent: 801, exe: "/usr/bin/dash", cgroup: session},
		{pid: 803, parent: 801, exe: "/usr/lib/openssh/sftp-server", cgroup: session},
		{pid: 900, parent: 802, exe: "/run/patchlab/probe-4567", cgroup: session},
	} {
		maps.Copy(all, p.files())
	}
	return all
}()

func TestProcessesAreGroupedByUnitWithoutThoseWhoLook(t *testing.T) {
	src := NewSource(tree(t, machine), nil, 900)
	want := []fact.Fact{
		named("process", "app.service /usr/bin/app", "count", "1", "pids", "110", "users", "root"),
		named("process", "init.scope /usr/lib/systemd/systemd", "count", "1", "pids", "1", "users", "root"),
		named("process", "nginx.service /usr/sbin/nginx", "count", "2", "pids", "100,101", "users", "root,www-data"),
		named("process", "patchlab-job-a.service /usr/bin/left", "count", "1", "pids", "402", "users", "root"),
		named("process", "ssh.service /usr/sbin/sshd", "count", "1", "pids", "120", "users", "root"),
		named("process", "systemd-udevd.service /usr/bin/udevadm", "count", "1", "pids", "130", "users", "root"),
		named("process", `user-0.slice /opt/by\x20hand`, "count", "1", "detached", "true", "pids", "300", "users", "root"),
		named("process", "user-0.slice /usr/bin/bash", "count", "1", "pids", "201", "users", "root"),
		named("process", "user-0.slice /usr/sbin/sshd", "count", "1", "pids", "200", "users", "root"),
	}
	if diff := cmp.Diff(want, collected(t, src, processes)); diff != "" {
		t.Error(diff)
	}
}

func TestListeningSocketsAreNamedAndOwned(t *testing.T) {
	src := NewSource(tree(t, machine), nil, 900)
	want := []fact.Fact{
		named("port", "tcp/*:80", "unit", "nginx.service", "executable", "/usr/sbin/nginx", "user", "root"),
		named("port", "tcp/127.0.0.1:8080", "unit", "app.service", "executable", "/usr/bin/app", "user", "root"),
		named("port", "tcp/[::1]:631", "unit", "ssh.service", "executable", "/usr/sbin/sshd", "user", "root"),
		named("port", "udp/*:68"),
		named("port", "unix/run/app.sock", "unit", "app.service", "executable", "/usr/bin/app", "user", "root"),
	}
	if diff := cmp.Diff(want, collected(t, src, ports)); diff != "" {
		t.Error(diff)
	}
}

func TestStaleMappingsAreThoseOfExecutableFilesThatAreGone(t *testing.T) {
	src := NewSource(tree(t, machine), nil, 900)
	want := []fact.Fact{
		named("stale", "nginx.service /usr/sbin/nginx /usr/lib/libcrypto.so.3", "pids", "100,101", "users", "root,www-data"),
		named("stale", "nginx.service /usr/sbin/nginx /usr/sbin/nginx", "pids", "100,101", "users", "root,www-data"),
		named("stale", "user-0.slice /usr/bin/bash /usr/lib/libcrypto.so.3", "pids", "201", "users", "root", "tty", "pts/3"),
	}
	if diff := cmp.Diff(want, collected(t, src, stale)); diff != "" {
		t.Error(diff)
	}
}

func TestAMappingIsStaleWhenAnotherFileIsAtItsPath(t *testing.T) {
	root := tree(t, map[string]string{"/usr/lib/a.so": "x", "/proc/5/root": "-> ../.."})
	s := staleSearch{src: NewSource(root, nil, 0), seen: map[mapping]bool{}}
	inode, device := inodeOf(t, root, "/usr/lib/a.so")
	for _, c := range []struct {
		name string
		m    mapping
		want bool
	}{
		{"the same file", mapping{device: device, inode: inode, path: "/usr/lib/a.so"}, false},
		{"another inode", mapping{device: device, inode: inode + 1, path: "/usr/lib/a.so"}, true},
		{"another device, as on an overlay", mapping{device: device + 1, inode: inode + 1, path: "/usr/lib/a.so"}, false},
		{"nothing there, as in another root", mapping{device: device, inode: 1, path: "/usr/lib/b.so"}, false},
	} {
		for range 2 { // the second time from memory
			if got := s.replaced(c.m, 5); got != c.want {
				t.Errorf("%s: replaced = %v, want %v", c.name, got, c.want)
			}
		}
	}
}

func TestUnitOfAControlGroup(t *testing.T) {
	for group, want := range map[string]string{
		"0::/system.slice/system-getty.slice/getty@tty1.service\n": "getty@tty1.service",
		"0::/user.slice/user-1000.slice/session-12.scope\n":        "user-1000.slice",
		"0::/user.slice/user-1000.slice/user@1000.service/app\n":   "user@1000.service",
		"12:cpu:/x\n1:name=systemd:/system.slice/a.service\n":      "a.service",
		"0::/\n":             noUnit,
		"":                   noUnit,
		"0::/machine.slice":  "machine.slice",
		"0::/lxc/guest/a:b/": "lxc",
	} {
		if got := parseCgroup([]byte(group)); got != want {
			t.Errorf("parseCgroup(%q) = %q, want %q", group, got, want)
		}
	}
}

// A restart of the ssh server leaves its logins behind, without the parent by which they were known.
func TestALoginIsHiddenAfterTheRestartOfTheServer(t *testing.T) {
	files := map[string]string{}
	for _, p := range []proc{
		{pid: 950, parent: 1, exe: "/usr/sbin/sshd", cgroup: "/system.slice/ssh.service"},
		{pid: 801, parent: 1, exe: "/usr/sbin/sshd", cgroup: session, maps: libcryptoDeleted},
		{pid: 802, parent: 801, exe: "/usr/bin/dash", cgroup: session},
		{pid: 803, parent: 801, exe: "/usr/lib/openssh/sftp-server", cgroup: session},
		{pid: 900, parent: 802, exe: "/run/patchlab/probe-4567", cgroup: session},
	} {
		maps.Copy(files, p.files())
	}
	got := collected(t, NewSource(tree(t, files), nil, 900), processes)
	if len(got) != 1 || got[0].Name != "ssh.service /usr/sbin/sshd" {
		t.Errorf("got %+v, want the listener alone", got)
	}
}

// Without the PAM module that makes sessions, logins stay in the ssh server's own unit.
func TestALoginWithoutASessionIsHiddenToo(t *testing.T) {
	files := map[string]string{}
	const unit = "/system.slice/ssh.service"
	for _, p := range []proc{
		{pid: 120, parent: 1, exe: "/usr/sbin/sshd", cgroup: unit},
		{pid: 801, parent: 120, exe: "/usr/lib/openssh/sshd-session", cgroup: unit},
		{pid: 802, parent: 801, exe: "/usr/bin/dash", cgroup: unit},
		{pid: 900, parent: 802, exe: "/tmp/probe", cgroup: unit},
		{pid: 910, parent: 1, exe: "/usr/sbin/sshd", cgroup: "/system.slice/ssh@1-a-b.service"},
	} {
		maps.Copy(files, p.files())
	}
	got := collected(t, NewSource(tree(t, files), nil, 900), processes)
	if len(got) != 1 || !strings.HasPrefix(got[0].Name, "ssh.service ") || got[0].Attributes["count"] != "1" {
		t.Errorf("got %+v, want the listener alone", got)
	}
}
