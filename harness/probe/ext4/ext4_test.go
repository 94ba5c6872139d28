package ext4_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/probe/ext4"
)

// disk makes a file system of what is in a directory, by the host's mke2fs, which image builds need as well.
func disk(tb testing.TB, dir string, arguments ...string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "disk")
	for _, place := range []string{"/usr/sbin", "/sbin"} {
		tb.Setenv("PATH", os.Getenv("PATH")+":"+place)
	}
	command := exec.CommandContext(tb.Context(), "mke2fs", append(append([]string{"-q", "-F", "-d", dir}, arguments...), file, "48M")...)
	if output, err := command.CombinedOutput(); err != nil {
		tb.Fatalf("mke2fs: %v: %s", err, output)
	}
	return file
}

func open(tb testing.TB, path string) *ext4.FS {
	tb.Helper()
	file, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = file.Close() })
	fs, err := ext4.Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	return fs
}

// files makes some of each kind: small and large ones, with holes, in many pieces, in a large directory.
func files(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	check := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	check(os.MkdirAll(dir+"/usr/bin", 0o755))
	check(os.MkdirAll(dir+"/many", 0o750))
	check(os.WriteFile(dir+"/empty", nil, 0o600))
	check(os.WriteFile(dir+"/usr/bin/ping", []byte("program"), 0o755))
	check(os.WriteFile(dir+"/large", bytes.Repeat([]byte("0123456789abcde\n"), 300_000), 0o644))
	check(os.Symlink("usr/bin/ping", dir+"/short"))
	check(os.Symlink(strings.Repeat("long/", 100), dir+"/long"))
	holes, err := os.Create(dir + "/holes")
	check(err)
	for _, at := range []int64{5000, 2 << 20, 9<<20 + 17} {
		_, err := holes.WriteAt([]byte("here"), at)
		check(err)
	}
	check(holes.Truncate(20 << 20))
	check(holes.Close())
	for i := range 1500 {
		check(os.WriteFile(dir+"/many/"+strings.Repeat("n", 60)+string(rune('a'+i%26))+strings.Repeat("x", i/26), nil, 0o644))
	}
	return dir
}

// walk compares what is on the disk with the directory that it was made of.
func walk(t *testing.T, fs *ext4.FS, dir *ext4.Inode, path string) int {
	t.Helper()
	names, err := dir.Names()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, entry := range entries {
		number, there := names[entry.Name()]
		if !there {
			t.Errorf("%s/%s is missing", path, entry.Name())
			continue
		}
		found++
		i, err := fs.Inode(number)
		if err != nil {
			t.Fatal(err)
		}
		var want unix.Stat_t
		if err := unix.Lstat(path+"/"+entry.Name(), &want); err != nil {
			t.Fatal(err)
		}
		if i.Mode != want.Mode || i.UID != want.Uid || i.GID != want.Gid || !entry.IsDir() && i.Size != want.Size {
			t.Errorf("%s is %+v, want mode %o, %d:%d, %d bytes", entry.Name(), i, want.Mode, want.Uid, want.Gid, want.Size)
		}
		switch want.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			found += walk(t, fs, i, path+"/"+entry.Name())
		case unix.S_IFLNK:
			wanted, errWant := os.Readlink(path + "/" + entry.Name())
			if target, err := i.Target(); err != nil || errWant != nil || target != wanted {
				t.Errorf("%s leads to %q, %v", entry.Name(), target, err)
			}
		case unix.S_IFREG:
			wanted, errWant := os.ReadFile(path + "/" + entry.Name())
			content, err := io.ReadAll(i.Content())
			if err != nil || errWant != nil || sha256.Sum256(content) != sha256.Sum256(wanted) {
				t.Errorf("%s has another content (%d of %d bytes, %v)", entry.Name(), len(content), len(wanted), err)
			}
		}
	}
	return found
}

func TestFilesAreReadAsTheyWereWritten(t *testing.T) {
	dir := files(t)
	for name, arguments := range map[string][]string{
		"ext4": {"-t", "ext4"}, "ext4 with small blocks": {"-t", "ext4", "-b", "1024"}, "ext3": {"-t", "ext3", "-b", "1024"},
		"ext2": {"-t", "ext2"}, "ext4 with small inodes": {"-t", "ext4", "-I", "128"}, "ext4 without 64 bits": {"-t", "ext4", "-O", "^64bit"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := open(t, disk(t, dir, arguments...))
			root, err := fs.Root()
			if err != nil {
				t.Fatal(err)
			}
			if found := walk(t, fs, root, dir); found != 1509 {
				t.Errorf("compared %d files", found)
			}
		})
	}
}

func TestAFileIsFoundByItsPathThroughLinks(t *testing.T) {
	dir := files(t)
	for name, target := range map[string]string{
		"bin": "usr/bin", "usr/up": "../usr/./bin//ping", "absolute": "/bin/ping", "out": "../../../usr/bin/ping", "round": "round", "nowhere": "none/ping",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	fs := open(t, disk(t, dir, "-t", "ext4"))
	for path, want := range map[string]string{
		"/usr/bin/ping": "program", "usr/bin/../bin/ping": "program", "/bin/ping": "program", "/usr/up": "program", "/absolute": "program",
		"/out": "program", "/../short": "program", "/empty": "",
	} {
		if content, err := fs.ReadFile(path, 7); string(content) != want || err != nil {
			t.Errorf("%s is %q, %v; want %q", path, content, err, want)
		}
	}
	for path, want := range map[string]error{
		"/none": iofs.ErrNotExist, "/nowhere": iofs.ErrNotExist, "/large": ext4.ErrNotRead, "/usr": ext4.ErrNotRead, "/usr/bin/ping/x": ext4.ErrNotRead,
	} {
		if _, err := fs.ReadFile(path, 7); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if _, err := fs.Lookup("/round"); err == nil {
		t.Error("a link to itself leads somewhere")
	}
}

// debugfs sets what the test's user may not.
func debugfs(t *testing.T, file string, requests ...string) {
	t.Helper()
	for _, request := range requests {
		if output, err := exec.CommandContext(t.Context(), "debugfs", "-w", "-R", request, file).CombinedOutput(); err != nil {
			t.Fatalf("debugfs %s: %v: %s", request, err, output)
		}
	}
}

func TestTimesAndAttributesAreRead(t *testing.T) {
	file := disk(t, files(t), "-t", "ext4")
	debugfs(t, file, "set_inode_field /usr/bin/ping ctime 20991231235959", "set_inode_field /usr/bin/ping ctime_extra 493827157",
		"ea_set /usr/bin/ping security.capability abc", "ea_set /large user.long "+strings.Repeat("v", 900))
	fs := open(t, file)
	find := func(names ...string) *ext4.Inode {
		i, err := fs.Root()
		for _, name := range names {
			inside, errNames := i.Names()
			if err = errors.Join(err, errNames); err != nil {
				t.Fatal(err)
			}
			i, err = fs.Inode(inside[name])
		}
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	ping := find("usr", "bin", "ping")
	// 493827157 = 123456789 ns in the upper 30 bits, and a 1 for the seconds beyond 2038 in the lower 2.
	if got := ping.Changed.UTC().Format("2006-01-02T15:04:05.999999999"); !strings.HasSuffix(got, ":59.123456789") {
		t.Errorf("changed at %s", got)
	}
	got := map[string]string{}
	for name, i := range map[string]*ext4.Inode{"security.capability": ping, "user.none": ping, "user.long": find("large")} {
		value, err := i.Extended(name)
		if err != nil {
			t.Error(err)
		}
		got[name] = value
	}
	want := map[string]string{"security.capability": "abc", "user.none": "", "user.long": strings.Repeat("v", 900)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOtherDisksAreRefused(t *testing.T) {
	file := disk(t, t.TempDir(), "-t", "ext4")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const super = 1024
	for name, change := range map[string]func([]byte){
		"nothing":                     func(b []byte) { clear(b) },
		"a journal to be replayed":    func(b []byte) { b[super+0x60] |= 0x04 },
		"a feature of the future":     func(b []byte) { b[super+0x63] |= 0x40 },
		"not unmounted":               func(b []byte) { b[super+0x3A] = 0 },
		"inodes of no size":           func(b []byte) { b[super+0x58], b[super+0x59] = 0, 0 },
		"groups without an inode":     func(b []byte) { clear(b[super+0x28 : super+0x2C]) },
		"blocks larger than anything": func(b []byte) { b[super+0x18] = 200 },
	} {
		broken := bytes.Clone(whole)
		change(broken)
		if _, err := ext4.Open(bytes.NewReader(broken)); !errors.Is(err, ext4.ErrNotRead) {
			t.Errorf("%s: %v, want ErrNotRead", name, err)
		}
	}
}

// FuzzDisk holds the reader to what it promises of a hostile disk: it ends, and without a panic.
func FuzzDisk(f *testing.F) {
	dir := f.TempDir()
	if err := errors.Join(os.WriteFile(dir+"/a", bytes.Repeat([]byte("x"), 9000), 0o644), os.Symlink("a", dir+"/b")); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(disk(f, dir, "-t", "ext4", "-b", "1024"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(1024+0x28), []byte{1, 0, 0, 0})
	f.Add(uint32(1024+0x14), []byte{0xff, 0xff})
	f.Fuzz(func(_ *testing.T, at uint32, change []byte) {
		broken := bytes.Clone(whole)
		copy(broken[int(at)%len(broken):], change)
		fs, err := ext4.Open(bytes.NewReader(broken))
		if err != nil {
			return
		}
		root, err := fs.Root()
		if err != nil {
			return
		}
		names, _ := root.Names()
		for _, number := range names {
			i, err := fs.Inode(number)
			if err != nil {
				continue
			}
			_, _ = io.CopyN(io.Discard, i.Content(), 1<<20)
			_, _ = i.Target()
			_, _ = i.Extended("security.capability")
			_, _ = i.Names()
		}
	})
}
