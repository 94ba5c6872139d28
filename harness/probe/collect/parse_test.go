package collect

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/fact"
)

func inodeOf(t *testing.T, root, path string) (inode, device uint64) {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(filepath.Join(root, path), &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ino, stat.Dev
}

func TestUsersAreReadWithTheirGroupsAndLocks(t *testing.T) {
	src := NewSource(tree(t, map[string]string{
		"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:,,,:/home/ann:/bin/sh\n# comment\nbroken:x:y:z:::\n" +
			"toor:x:0:0::/root:/bin/sh\n",
		"/etc/group":  "root:x:0:\nann:x:1000:\nsudo:x:27:ann,ghost\nadm:x:4:ann\n",
		"/etc/shadow": "root:!:1::::::\nann:$6$x:1::::::\n",
	}), nil, 0)
	want := []fact.Fact{
		named("user", "ann", "uid", "1000", "gid", "1000", "home", "/home/ann", "shell", "/bin/sh",
			"groups", "adm,ann,sudo", "locked", "false"),
		named("user", "root", "uid", "0", "gid", "0", "home", "/root", "shell", "/bin/bash", "groups", "root", "locked", "true"),
		named("user", "toor", "uid", "0", "gid", "0", "home", "/root", "shell", "/bin/sh", "groups", "root"),
	}
	if diff := cmp.Diff(want, collected(t, src, users)); diff != "" {
		t.Error(diff)
	}
	db, _ := src.accounts()
	if db.userName(0) != "root" || db.userName(7) != "7" {
		t.Errorf("names %q and %q, want root and 7", db.userName(0), db.userName(7))
	}
}

func TestMountsAreThoseOfTheServer(t *testing.T) {
	src := NewSource(tree(t, map[string]string{"/proc/self/mountinfo": `26 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
25 26 0:22 / /run rw,nosuid,noexec shared:5 master:3 - tmpfs tmpfs rw,size=72572k,nr_inodes=5,mode=755
80 26 8:1 / /srv/my\040data ro - xfs /dev/sda1 ro
22 26 0:20 / /proc rw - proc proc rw
34 22 0:29 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw
33 25 0:28 / /run/credentials/x rw - ramfs ramfs rw
224 25 0:42 / /run/user/0 rw - tmpfs tmpfs rw
231 25 0:22 /patchlab /run/patchlab rw - tmpfs tmpfs rw
garbage
1 2 3 - x
`}), nil, 0)
	want := []fact.Fact{
		named("mount", "/", "fstype", "ext4", "source", "/dev/vda1", "options", "errors=remount-ro,relatime,rw"),
		named("mount", "/run", "fstype", "tmpfs", "source", "tmpfs", "options", "mode=755,noexec,nosuid,rw"),
		named("mount", "/srv/my data", "fstype", "xfs", "source", "/dev/sda1", "options", "ro"),
	}
	if diff := cmp.Diff(want, collected(t, src, mounts)); diff != "" {
		t.Error(diff)
	}
}

func TestTerminalsAreNamedByTheirNumber(t *testing.T) {
	for number, want := range map[int]string{
		0: "", 136<<8 | 5: "pts/5", 137<<8 | 1: "pts/257", 4<<8 | 1: "tty1", 4<<8 | 64: "ttyS0", 229 << 8: "hvc0", 5<<8 | 1: "5:1",
	} {
		if got := terminalName(number); got != want {
			t.Errorf("terminalName(%#x) = %q, want %q", number, got, want)
		}
	}
}

func TestMappingsAreParsed(t *testing.T) {
	for line, want := range map[string]mapping{
		"7f-80 r-xp 00001000 fe:01 77      /usr/lib/a b.so (deleted)\n": {
			device: unix.Mkdev(0xfe, 1), inode: 77, path: "/usr/lib/a b.so", deleted: true,
		},
		"7f-80 r-xp 00001000 08:11 78 /usr/lib/c.so":          {device: unix.Mkdev(8, 0x11), inode: 78, path: "/usr/lib/c.so"},
		"7f-80 r--p 00001000 08:11 78 /usr/lib/c.so":          {},
		"7f-80 r-xp 00000000 00:00 0  [vdso]":                 {},
		"7f-80 r-xp 00000000 00:00 0 ":                        {},
		"7f-80 r-xs 00000000 00:05 9 /SYSV00000000 (deleted)": {},
		"7f-80 r-xp / /": {},
		"":               {},
	} {
		got, ok := parseMapping([]byte(line))
		if !ok {
			got = mapping{}
		}
		if got != want {
			t.Errorf("parseMapping(%q) = %+v, want %+v", line, got, want)
		}
	}
}
