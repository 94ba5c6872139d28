package proxy_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/patch/proxy"
)

func TestPackagesAreFetchedOnceAndIndexesEachTime(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, serves(debContent))
	dir := t.TempDir()
	sum := sha256.Sum256([]byte(debContent))
	byHash := "/debian/dists/x/main/by-hash/SHA256/" + hex.EncodeToString(sum[:])
	for path, want := range map[string]int64{deb: 1, byHash: 1, "/debian/dists/x/InRelease": 3, "/debian/dists/x/main/by-hash/MD5Sum/0123": 3} {
		u.asked.Store(0)
		for range 3 {
			l := newLab(t, u, cached(dir)) // a new proxy on the same directory
			if status, body, _ := l.get(t, alias+path); status != 200 || body != debContent {
				t.Errorf("%s: %d with %d bytes", path, status, len(body))
			}
		}
		if got := u.asked.Load(); got != want {
			t.Errorf("%s: the mirror was asked %d times, want %d", path, got, want)
		}
	}
}

func stored(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, name := range all {
		if !strings.HasSuffix(name, ".sha256") {
			files = append(files, name)
		}
	}
	return files
}

func TestADamagedFileIsFetchedAgain(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(file string) error{
		"one byte differs":      func(file string) error { return os.WriteFile(file, []byte("#"+debContent[1:]), 0o600) },
		"it is cut off":         func(file string) error { return os.Truncate(file, 100) },
		"its record is missing": func(file string) error { return os.Remove(file + ".sha256") },
		"its record is empty":   func(file string) error { return os.Truncate(file+".sha256", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			u := newUpstream(t, serves(debContent))
			l := newLab(t, u, cached(dir))
			l.get(t, alias+deb)
			files := stored(t, dir)
			if len(files) != 1 {
				t.Fatalf("the cache holds %v", files)
			}
			if err := damage(files[0]); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, body, _ := l.get(t, alias+deb); body != debContent {
					t.Error("a damaged file was served")
				}
			}
			if u.asked.Load() != 2 {
				t.Errorf("the mirror was asked %d times, want 2", u.asked.Load())
			}
		})
	}
}

func TestWhatCannotBeThePackageIsNeitherServedNorKept(t *testing.T) {
	t.Parallel()
	byHash := "/debian/dists/x/by-hash/SHA256/" + strings.Repeat("0", 64)
	for name, test := range map[string]struct {
		path    string
		handler http.HandlerFunc
	}{
		"a login page":      {deb, serves("<html>please log in</html>")},
		"an empty file":     {deb, serves("")},
		"a wrong digest":    {byHash, serves("content")},
		"no length":         {deb, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, debContent) }},
		"half of a package": {deb, broken(debContent)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := newLab(t, newUpstream(t, test.handler), cached(dir))
			status, _, _ := l.get(t, alias+test.path)
			if status != http.StatusBadGateway || len(l.proxy.Errors()) != 1 {
				t.Errorf("status %d, errors %v; want 502 and one error", status, l.proxy.Errors())
			}
			if files := stored(t, dir); len(files) != 0 {
				t.Errorf("the cache holds %v", files)
			}
		})
	}
}

func TestOneFileIsFetchedOnceForAll(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun) // panics when asked twice
		<-release
		serves(debContent)(w, r)
	})
	l := newLab(t, u, cached(t.TempDir()))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, body, _ := l.get(t, alias+deb); body != debContent {
				t.Errorf("got %d bytes", len(body))
			}
		})
	}
	<-begun
	close(release)
	all.Wait()
}

func TestAGuestThatGivesUpFindsTheDownloadFurtherOn(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun) // panics when asked twice
		<-release
		serves(debContent)(w, r)
	})
	p, err := proxy.New(proxy.Config{Upstreams: map[string]string{"/debian": u.URL}, CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		request := httptest.NewRequestWithContext(ctx, http.MethodGet, alias+deb, http.NoBody)
		p.ServeHTTP(httptest.NewRecorder(), request)
	}()
	<-begun
	cancel()
	<-gone
	if errs := p.Errors(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "the guest gave up") {
		t.Errorf("errors %v, want that the guest gave up", errs)
	}
	close(release)
	answer := httptest.NewRecorder()
	p.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, alias+deb, http.NoBody))
	if answer.Code != 200 || answer.Body.String() != debContent {
		t.Errorf("the second request got %d with %d bytes", answer.Code, answer.Body.Len())
	}
}

func TestNoGuestFillsTheHost(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*proxy.Config){
		"one file":   func(c *proxy.Config) { c.MaxFile = 1000 },
		"everything": func(c *proxy.Config) { c.MaxTotal = 1000 },
	} {
		dir := t.TempDir()
		u := newUpstream(t, serves(debContent))
		l := newLab(t, u, func(c *proxy.Config) {
			c.CacheDir = dir
			change(c)
		})
		if status, _, _ := l.get(t, alias+deb); status != http.StatusBadGateway || u.asked.Load() != 1 {
			t.Errorf("%s: status %d after %d attempts, want 502 after one", name, status, u.asked.Load())
		}
		if files := stored(t, dir); len(files) != 0 {
			t.Errorf("%s: left %v", name, files)
		}
	}
}

func TestTheCacheIsClearedUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	u := newUpstream(t, serves(debContent))
	l := newLab(t, u, cached(dir))
	for i := range 4 {
		l.get(t, fmt.Sprintf("%s/debian/pool/main/x/x_%d_all.deb", alias, i))
	}
	for i, file := range stored(t, dir) { // the later, the longer unused
		past := time.Now().Add(-time.Duration(i) * time.Hour)
		if err := os.Chtimes(file+".sha256", past, past); err != nil {
			t.Fatal(err)
		}
	}
	all := stored(t, dir)
	dead := filepath.Join(filepath.Dir(all[0]), "part-dead")
	live := filepath.Join(filepath.Dir(all[0]), "part-live")
	for _, file := range []string{dead, live} {
		if err := os.WriteFile(file, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writer, err := os.Open(live)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Close() }()
	if err := unix.Flock(int(writer.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	removed, err := proxy.Sweep(dir, int64(len(debContent))*5/2)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(removed)
	want := []string{dead, all[2], all[3]}
	slices.Sort(want)
	if diff := cmp.Diff(want, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if left := stored(t, dir); len(left) != 3 {
		t.Errorf("left are %v", left)
	}
	if removed, err := proxy.Sweep(filepath.Join(dir, "none"), 0); len(removed) > 0 || err != nil {
		t.Errorf("of no cache at all it removed %v, %v", removed, err)
	}
}

func TestWhatAPTFindsWrongIsForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	u := newUpstream(t, serves("!<arch>\nanother package"))
	newLab(t, u, cached(dir)).get(t, alias+deb)
	u.handler = serves(debContent) // the mirror has mended it
	l := newLab(t, u, cached(dir))
	if _, body, _ := l.get(t, alias+deb); body == debContent {
		t.Fatal("the wrong package is not in the cache")
	}
	if n := l.proxy.Distrust(); n != 1 {
		t.Errorf("%d files were forgotten, want 1", n)
	}
	if _, body, _ := l.get(t, alias+deb); body != debContent {
		t.Errorf("got %q", body[:20])
	}
}

func TestAFileIsCopiedOutOfTheCacheWhole(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, serves(debContent))
	dir := t.TempDir()
	newLab(t, u, cached(dir)).get(t, alias+deb)
	to := filepath.Join(t.TempDir(), "a.deb")
	if err := proxy.CopyOut(dir, deb, to); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(to); err != nil || string(content) != debContent {
		t.Errorf("copied %d bytes, %v", len(content), err)
	}
	for _, name := range stored(t, dir) {
		if err := os.WriteFile(name, []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := proxy.CopyOut(dir, deb, to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged file: %v", err)
	}
}
