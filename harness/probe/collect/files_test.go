package collect

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

func TestFilesBelowEtcAreReadWithWhatTheirPackageSays(t *testing.T) {
	const text = "worker 1;\n"
	root := tree(t, map[string]string{
		"/var/lib/dpkg/status": "Package: web\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nConffiles:\n" +
			" /etc/web/kept.conf 5d41402abc4b2a76b9719d911017c592\n /etc/web/web.conf 00000000000000000000000000000000\n",
		"/var/lib/dpkg/info/web.list": "/etc\n/etc/web\n/etc/web/kept.conf\n/etc/web/web.conf\n/etc/web/link\n",
		"/etc/web/kept.conf":          "hello",
		"/etc/web/web.conf":           text,
		"/etc/web/link":               "-> web.conf",
		"/etc/binary":                 "a\x00b",
		"/etc/large":                  strings.Repeat("x", maxText+1),
	})
	chmod(t, root, "/etc/web/kept.conf", 0o600|fs.ModeSetuid)
	if err := unix.Mkfifo(filepath.Join(root, "/etc/pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	chmod(t, root, "/etc/pipe", 0o644)
	me := owner(t, root)
	want := []fact.Fact{
		named("file", "/etc/binary", "type", "file", "mode", "0644", "owner", me, "size", "3",
			"sha256", digest("a\x00b")),
		named("file", "/etc/large", "type", "file", "mode", "0644", "owner", me, "size", fmt.Sprint(maxText+1),
			"sha256", digest(strings.Repeat("x", maxText+1))),
		named("file", "/etc/pipe", "type", "other", "mode", "0644", "owner", me),
		named("file", "/etc/web", "type", "dir", "mode", "0755", "owner", me),
		named("file", "/etc/web/kept.conf", "type", "file", "mode", "4600", "owner", me, "size", "5",
			"sha256", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "package", "web:all",
			"conffile", "5d41402abc4b2a76b9719d911017c592", "edited", "false"),
		named("file", "/etc/web/link", "type", "link", "target", "web.conf", "owner", me, "package", "web:all"),
		named("file", "/etc/web/web.conf", "type", "file", "mode", "0644", "owner", me, "size", "10", "text", text,
			"sha256", digest(text),
			"package", "web:all", "conffile", "00000000000000000000000000000000", "edited", "true"),
	}
	if diff := cmp.Diff(want, readFiles(t, root)); diff != "" {
		t.Error(diff)
	}
}

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// readFiles reads the files below /etc, without the note that this tree has no accounts.
func readFiles(t *testing.T, root string) []fact.Fact {
	t.Helper()
	doc := readTree(t, root, FilesWanted{OnlyEtc: true})
	if doc.Files != nil {
		t.Error("the document claims to know the whole system")
	}
	return doc.Facts.All()
}

func readTree(t *testing.T, root string, wanted FilesWanted) protocol.Document {
	t.Helper()
	src := NewSource(root, nil, 0)
	src.Want(wanted)
	doc, _ := Run(t.Context(), src, []Collector{{fact.KindFile, files}}, fixedClock)
	return doc
}

// owner is who runs the test, as numbers, for the tree has no accounts.
func owner(t *testing.T, root string) string {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(root, &stat); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s:%d", me.Uid, stat.Gid)
}

func TestHostileFileNamesAreEscaped(t *testing.T) {
	root := tree(t, map[string]string{"/etc/a\nb\x1b[2J": "x"})
	got := readFiles(t, root)
	if len(got) != 1 || got[0].Name != `/etc/a\x0ab\x1b[2J` {
		t.Errorf("got %+v", got)
	}
}

func TestATreeWithoutBottomIsCutAndNoted(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "etc", strings.Repeat("d/", maxFileDepth+5))
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	doc := readTree(t, root, FilesWanted{OnlyEtc: true})
	if len(doc.Notes) != 1 || !strings.Contains(doc.Notes[0].Error, errTooBig.Error()) {
		t.Errorf("notes %v, want one about the depth", doc.Notes)
	}
}
