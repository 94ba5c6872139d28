package private

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExec is where this test binary arrives when Ensure calls it. Without arguments it is no test.
func TestExec(t *testing.T) {
	if flag.NArg() == 0 {
		return
	}
	t.Fatal(Exec(flag.Args()))
}

func TestTheUsualDirectoriesAreShortEnough(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"/run/patchlab", "/run/user/1000/patchlab", "/tmp/patchlab-987654321"} {
		if len(dir) > MaxDir {
			t.Errorf("%s has %d bytes, at most %d are possible", dir, len(dir), MaxDir)
		}
	}
}

func TestALongDirectoryIsRefusedBeforeAnythingIsMade(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	if _, err := Ensure(t.Context(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the directory was made")
	}
}

func TestKVMNeedsAGroupOrNothing(t *testing.T) {
	t.Parallel()
	const kvm = 104
	tests := map[string]struct {
		mode   fs.FileMode
		uid    int
		groups []int
		ok     bool
	}{
		"open to all":              {mode: 0o666, ok: true},
		"open to its group":        {mode: 0o660, groups: []int{kvm}, ok: true},
		"open to its owner, as us": {mode: 0o600, uid: 65534, ok: true},
		"open to root alone":       {mode: 0o600},
		"readable is not enough":   {mode: 0o644},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			groups, ok := account{uid: 65534, gid: 65534, drop: true}.kvmGroups(test.mode, test.uid, kvm)
			if diff := cmp.Diff(test.groups, groups); diff != "" || ok != test.ok {
				t.Errorf("ok %v, want %v; %s", ok, test.ok, diff)
			}
		})
	}
}

func TestAForeignDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := checkOwn(open); err != nil {
		t.Errorf("our own directory: %v", err)
	}
	if err := os.Chmod(open, 0o777); err != nil { // past the umask
		t.Fatal(err)
	}
	if err := checkOwn(open); err == nil {
		t.Error("a directory that everybody may write is taken")
	}
	link := open + "-link"
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := checkOwn(link); err == nil {
		t.Error("a symbolic link is taken")
	}
}

func TestTheStateIsReadAsWritten(t *testing.T) {
	t.Parallel()
	home := layout{dir: t.TempDir()}
	want := state{KVM: true, Notes: []string{"a note"}}
	for range 2 { // the second replaces the first
		if err := home.writeState(want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := home.readState()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAnOwnerOnceChosenStays(t *testing.T) {
	t.Parallel()
	home := layout{dir: t.TempDir()}
	want, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // another than the first choice, where the host has that
		if want, err = user.Lookup("nobody"); err != nil {
			t.Fatal(err)
		}
	}
	before, err := fromUser(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := home.handOver(before); err != nil {
		t.Fatal(err)
	}
	after, err := home.accountToDrop()
	if err != nil || after != before {
		t.Errorf("the account was %+v, is %+v (%v)", before, after, err)
	}
}

func TestExecRefusesAPlanThatItCannotCarryOut(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"none": nil, "not JSON": {"libvirtd"}, "no program": {"{}"},
	} {
		if err := Exec(arguments); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
