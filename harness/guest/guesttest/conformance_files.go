package guesttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
)

func put(t *testing.T, conn guest.Conn, name string, mode fs.FileMode, content io.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := conn.Put(ctx, name, mode, content); err != nil {
		t.Fatalf("Put(%q): %v", name, err)
	}
}

func get(t *testing.T, conn guest.Conn, name string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var content bytes.Buffer
	if err := conn.Get(ctx, name, &content); err != nil {
		t.Fatalf("Get(%q): %v", name, err)
	}
	return content.Bytes()
}

func checkPutGet(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	random := make([]byte, 1<<20+17) // neither a multiple of a packet nor of a window
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(random)
	for name, content := range map[string][]byte{"empty": {}, "with 'quotes' and \"spaces\"": []byte("small"), "large": random} {
		file := path.Join(subject.Dir, name)
		put(t, conn, file, 0o644, io.MultiReader(bytes.NewReader(content))) // a reader that cannot tell its length
		if got := get(t, conn, file); !bytes.Equal(got, content) {
			t.Errorf("%q: got %d bytes that differ from the %d put", name, len(got), len(content))
		}
	}
}

func checkReplace(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	name := path.Join(subject.Dir, "replaced")
	for _, file := range []struct {
		mode    fs.FileMode
		content string
		shown   string
	}{{0o755, "old, and longer", "755"}, {0o600, "new", "600"}, {0o755 | fs.ModeSetuid, "set-uid", "4755"}} {
		put(t, conn, name, file.mode, strings.NewReader(file.content))
		if got := string(get(t, conn, name)); got != file.content {
			t.Errorf("content %q, want %q", got, file.content)
		}
		if got := strings.TrimSpace(stdout(t, conn, lineMode+name)); got != file.shown {
			t.Errorf("mode %s, want %s", got, file.shown)
		}
	}
}

func checkDirectories(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	name := path.Join(subject.Dir, "a", "b", "c", "file")
	put(t, conn, name, 0o644, strings.NewReader("deep"))
	if got := string(get(t, conn, name)); got != "deep" {
		t.Errorf("content %q", got)
	}
}

func checkBrokenPut(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	dir := path.Join(subject.Dir, "broken")
	name := path.Join(dir, "file")
	put(t, conn, name, 0o644, strings.NewReader("old"))
	broken := errors.New("broken content")
	err := conn.Put(t.Context(), name, 0o644, io.MultiReader(strings.NewReader(strings.Repeat("new", 50_000)), failing{broken}))
	if !errors.Is(err, broken) || errors.Is(err, guest.ErrLost) {
		t.Errorf("Put: %v, want the content's error", err)
	}
	if got := string(get(t, conn, name)); got != "old" {
		t.Errorf("the old file became %.20q", got)
	}
	if got := stdout(t, conn, lineList+dir); got != "file\n" {
		t.Errorf("the directory holds %q, want the file alone", got)
	}
}

func checkCancelledPut(t *testing.T, subject Subject, conn guest.Conn) {
	t.Helper()
	name := path.Join(subject.Dir, "cancelled")
	content, end := io.Pipe()
	defer func() { _ = end.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := conn.Put(ctx, name, 0o644, content); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, guest.ErrLost) {
		t.Errorf("Put: %v, want the deadline alone", err)
	}
	if err := conn.Get(t.Context(), name, io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of what was never complete: %v, want fs.ErrNotExist", err)
	}
}
