package collect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// server is a small system. Its files have been left alone for a while when they are read with [later].
var server = map[string]string{
	"/bin":                       "-> usr/bin",
	"/boot/vmlinuz-6.1":          "kernel",
	"/etc/motd":                  "welcome\n",
	"/etc/ssh/sshd_config":       "PermitRootLogin no\n",
	"/root/.profile":             "umask 022\n",
	"/usr/bin/sh":                "#!",
	"/usr/lib/libc.so":           "-> libc.so.6",
	"/usr/lib/libc.so.6":         "code",
	"/usr/local/":                "",
	"/var/lib/app/state":         "1\n",
	"/var/log/syslog":            "started\n",
	"/home/ann/notes":            "buy milk\n",
	"/var/lib/docker/overlay2/x": "somebody's system",
	"/var/lib/dpkg/status": "Package: dash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n" +
		"Package: sed\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n",
	"/var/lib/dpkg/info/dash.list": "/.\n/bin\n/bin/sh\n/usr/share/man/sh.1\n" +
		"/usr/lib/libc.so.6\n",
	"/var/lib/dpkg/info/sed.list": "/.\n/bin\n/bin/sed\n",
	"/var/lib/dpkg/diversions":    "/usr/share/man/sh.1\n/usr/share/man/sh.distrib.1\nbash\n",
	"/usr/share/man/sh.1":         "of bash",
	"/usr/share/man/sh.distrib.1": "of dash",
}

func later() time.Time { return time.Now().Add(time.Minute) }

// knownOf makes the index of a reading, with the facts by position.
func knownOf(doc protocol.Document) (protocol.Index, map[int]fact.Fact) {
	var prints []protocol.Print
	all := doc.Facts.All()
	for i := range all {
		prints = append(prints, doc.Files.Print(i))
	}
	index := protocol.NewIndex(prints)
	facts := map[int]fact.Fact{}
	for i, f := range all {
		if position, found := index.Find(prints[i]); found {
			facts[position] = f
		}
	}
	return index, facts
}

// together adds to a document what it says the index has.
func together(doc protocol.Document, facts map[int]fact.Fact) fact.Set {
	var all []fact.Fact
	for position, f := range facts {
		if protocol.IsSeen(doc.Files.Seen, position) {
			all = append(all, f)
		}
	}
	return fact.NewSet(append(all, doc.Facts.All()...)...)
}

func TestTheWholeSystemIsReadWithItsOwners(t *testing.T) {
	doc := readTree(t, tree(t, server), FilesWanted{Now: later})
	for path, want := range map[string]string{
		"/": "dir ", "/bin": "link ", "/usr/bin/sh": "file dash:amd64", "/usr/lib/libc.so.6": "file dash:amd64",
		"/usr/share/man/sh.distrib.1": "file dash:amd64", "/usr/share/man/sh.1": "file ", "/var/lib/docker": "dir ",
		"/var/lib/docker/overlay2": "", "/usr/lib/libc.so": "link ", "/usr/local": "dir ",
	} {
		f, found := doc.Facts.Get(fact.KindFile, path)
		got := strings.TrimPrefix(f.Attribute("type")+" "+f.Attribute("package"), " ")
		if !found {
			got = ""
		}
		if got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for path, hashed := range map[string]bool{
		"/boot/vmlinuz-6.1": true, "/root/.profile": true, "/var/lib/app/state": true, "/home/ann/notes": true, "/var/log/syslog": false,
	} {
		f, _ := doc.Facts.Get(fact.KindFile, path)
		if got := f.Attribute("sha256") != ""; got != hashed {
			t.Errorf("%s is hashed: %v, want %v", path, got, hashed)
		}
		if f.Attribute("text") != "" {
			t.Errorf("%s tells its text, which only /etc does", path)
		}
	}
}

// Whatever is done to a file, a reading with the index says the same as one without, and tells only what moved.
func TestAReadingWithTheIndexIsAWholeReading(t *testing.T) {
	tests := []struct {
		name string
		do   func(root string) error
		want []string // that were sent
	}{
		{"nothing", func(string) error { return nil }, nil},
		{"another content, with the time of before", func(root string) error {
			return putBack(root+"/usr/lib/libc.so.6", func(path string) error { return os.WriteFile(path, []byte("CODE"), 0o644) })
		}, []string{"/usr/lib/libc.so.6"}},
		{"the mode", func(root string) error { return os.Chmod(root+"/boot/vmlinuz-6.1", 0o600) }, []string{"/boot/vmlinuz-6.1"}},
		{"set-uid", func(root string) error { return os.Chmod(root+"/usr/bin/sh", 0o755|os.ModeSetuid) }, []string{"/usr/bin/sh"}},
		{"the mode of a directory", func(root string) error { return os.Chmod(root+"/etc/ssh", 0o777) }, []string{"/etc/ssh"}},
		{"the mode of the root directory", func(root string) error { return os.Chmod(root, 0o777) }, []string{"/"}},
		{"a new file", func(root string) error { return os.WriteFile(root+"/usr/local/x", nil, 0o644) }, []string{"/usr/local/x"}},
		{"a file gone", func(root string) error { return os.Remove(root + "/var/lib/app/state") }, nil},
		{"replaced by a rename", func(root string) error {
			return putBack(root+"/root/.profile", func(path string) error {
				return os.Rename(root+"/etc/motd", path)
			})
		}, []string{"/root/.profile"}},
		{"a link to elsewhere", func(root string) error {
			path := root + "/usr/lib/libc.so"
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink("libc.so.7", path)
		}, []string{"/usr/lib/libc.so"}},
		{"another name for a file", func(root string) error {
			return os.Link(root+"/etc/motd", root+"/etc/issue")
		}, []string{"/etc/issue", "/etc/motd"}},
		{"another time alone", func(root string) error {
			return os.Chtimes(root+"/etc/motd", time.Unix(1, 0), time.Unix(1, 0))
		}, []string{"/etc/motd"}},
		{"a line in a log", func(root string) error { return os.WriteFile(root+"/var/log/syslog", []byte("more"), 0o644) }, nil},
		{"a program in a place of data", func(root string) error {
			return os.WriteFile(root+"/var/log/miner", []byte("\x7fELF"), 0o755)
		}, []string{"/var/log/miner"}},
		{"another owner of the same content", func(root string) error {
			return os.WriteFile(root+"/var/lib/dpkg/info/dash.list", []byte("/.\n/bin\n/bin/sh\n"), 0o644)
		}, []string{"/usr/lib/libc.so.6", "/usr/share/man/sh.distrib.1", "/var/lib/dpkg/info/dash.list"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := tree(t, server)
			index, facts := knownOf(readTree(t, root, FilesWanted{Now: later}))
			if err := tt.do(root); err != nil {
				t.Fatal(err)
			}
			// The two readings are of one state: what is racy in the first must not be told by the index of the second.
			with := readTree(t, root, FilesWanted{Known: index, Now: later})
			without := readTree(t, root, FilesWanted{Now: later})
			if diff := cmp.Diff(without.Facts.All(), together(with, facts).All()); diff != "" {
				t.Errorf("with the index (+) it is another reading:\n%s", diff)
			}
			var sent []string
			for _, f := range with.Facts.All() {
				sent = append(sent, f.Name)
			}
			if diff := cmp.Diff(tt.want, sent); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

// putBack does something to a file and gives it the time of before.
func putBack(path string, do func(string) error) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := do(path); err != nil {
		return err
	}
	return os.Chtimes(path, info.ModTime(), info.ModTime())
}

func TestWhatWasJustChangedIsReadAgain(t *testing.T) {
	root := tree(t, server)
	doc := readTree(t, root, FilesWanted{}) // by the clock by which the files were just made
	index, _ := knownOf(doc)
	for i, f := range doc.Facts.All() {
		isKnown := doc.Files.Print(i) != 0
		// A directory's fact and that of a log do not follow from times.
		if steady := f.Attribute("type") == "dir" || strings.HasPrefix(f.Name, "/var/log/"); isKnown != steady {
			t.Errorf("%s goes into the index: %v", f.Name, isKnown)
		}
	}
	again := readTree(t, root, FilesWanted{Known: index})
	if f, found := again.Facts.Get(fact.KindFile, "/etc/motd"); !found || f.Attribute("sha256") == "" {
		t.Error("a file that was changed within the last second is taken for known")
	}
}

func TestADirectoryWithoutEndIsNotedAndTheRestIsRead(t *testing.T) {
	root := tree(t, server)
	many := filepath.Join(root, "/srv/many")
	if err := os.MkdirAll(many, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range maxEntries + 1 {
		if err := os.Symlink("x", fmt.Sprintf("%s/%d", many, i)); err != nil {
			t.Fatal(err)
		}
	}
	doc := readTree(t, root, FilesWanted{Now: later})
	if len(doc.Notes) != 1 || !strings.Contains(doc.Notes[0].Error, "/srv/many") {
		t.Errorf("notes %v, want one about the directory", doc.Notes)
	}
	for path, want := range map[string]bool{"/srv/many": true, "/srv/many/1": false, "/usr/bin/sh": true, "/var/log/syslog": true} {
		if _, found := doc.Facts.Get(fact.KindFile, path); found != want {
			t.Errorf("%s is told: %v, want %v", path, found, want)
		}
	}
}

func TestOtherFileSystemsAreReadWhereTheyBelongToTheSystem(t *testing.T) {
	root := tree(t, server)
	for path, text := range map[string]string{
		"/boot/efi/EFI/grub.efi": "x", "/srv/disk/film": "x", "/proc/self/mountinfo": strings.Join([]string{
			"1 0 8:1 / / rw - ext4 /dev/sda1 rw",
			"2 1 8:2 / /boot/efi rw - vfat /dev/sda2 rw",
			"3 1 8:3 / /srv/disk rw - ext4 /dev/sdb1 rw",
			"4 1 0:22 / /usr/local rw - nfs4 server:/local rw",
			`5 1 8:1 /usr/lib /var/lib/app rw - ext4 /dev/sda1 rw`,
			"6 1 0:5 / /proc rw - proc proc rw",
		}, "\n") + "\n",
	} {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	doc := readTree(t, root, FilesWanted{Now: later})
	for path, want := range map[string]bool{
		"/boot/efi/EFI/grub.efi": true, "/srv/disk": false, "/srv/disk/film": false, "/usr/local": false, "/proc": false,
		"/var/lib/app/state": false, "/usr/lib/libc.so.6": true,
	} {
		if _, found := doc.Facts.Get(fact.KindFile, path); found != want {
			t.Errorf("%s is told: %v, want %v", path, found, want)
		}
	}
	for i, f := range doc.Facts.All() {
		if f.Name == "/boot/efi/EFI/grub.efi" && doc.Files.Print(i) != 0 {
			t.Error("a file of a vfat is trusted by its times")
		}
	}
}

func TestCapabilitiesAreTold(t *testing.T) {
	for value, want := range map[string]string{
		"": "",
		"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00": "cap_net_raw=ep",
		"\x00\x00\x00\x02\x01\x00\x00\x00\x01\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00": "cap_bpf=p cap_chown=ip",
		"garbage": "67617262616765",
		"\x01\x00\x00\x09" + strings.Repeat("\x00", 16): "01000009" + strings.Repeat("00", 16),
	} {
		if got := capabilities(value); got != want {
			t.Errorf("%q is %q, want %q", value, got, want)
		}
	}
}

func TestTheProbeLeavesTheTimesOfAccess(t *testing.T) {
	root := tree(t, server)
	path := root + "/etc/motd"
	old := unix.NsecToTimespec(time.Unix(1, 0).UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{old, unix.NsecToTimespec(time.Now().UnixNano())}, 0); err != nil {
		t.Fatal(err)
	}
	readTree(t, root, FilesWanted{Now: later})
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil || stat.Atim.Sec != 1 {
		t.Errorf("it was read at %v, %v", stat.Atim, err)
	}
}
