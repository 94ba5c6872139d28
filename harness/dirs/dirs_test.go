package dirs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestFind(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		uid  int
		env  map[string]string
		want Dirs
	}{
		"root uses system directories, whatever its login set as runtime directory": {
			0,
			map[string]string{"HOME": "/root", "XDG_RUNTIME_DIR": "/run/user/0"},
			Dirs{
				Images: "/var/lib/patchlab/images", Runs: "/var/lib/patchlab/runs", Cache: "/var/cache/patchlab",
				Runtime: "/run/patchlab",
			},
		},
		"root with XDG directories": {
			0,
			map[string]string{"XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c"},
			Dirs{Images: "/d/patchlab/images", Runs: "/s/patchlab/runs", Cache: "/c/patchlab", Runtime: "/run/patchlab"},
		},
		"a user with nothing but a home": {
			1000,
			map[string]string{"HOME": "/home/u", "XDG_DATA_HOME": "relative"},
			Dirs{
				Images: "/home/u/.local/share/patchlab/images", Runs: "/home/u/.local/state/patchlab/runs",
				Cache: "/home/u/.cache/patchlab", Runtime: "/tmp/patchlab-1000",
			},
		},
		"a user with XDG directories": {
			1000,
			map[string]string{
				"XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c", "XDG_RUNTIME_DIR": "/run/user/1000",
			},
			Dirs{
				Images: "/d/patchlab/images", Runs: "/s/patchlab/runs", Cache: "/c/patchlab",
				Runtime: "/run/user/1000/patchlab",
			},
		},
		"a runtime directory too long for sockets": {
			1000,
			map[string]string{"HOME": "/h", "XDG_RUNTIME_DIR": "/" + strings.Repeat("x", 60)},
			Dirs{
				Images: "/h/.local/share/patchlab/images", Runs: "/h/.local/state/patchlab/runs",
				Cache: "/h/.cache/patchlab", Runtime: "/tmp/patchlab-1000",
			},
		},
		"own choices go first": {
			1000,
			map[string]string{
				"PATCHLAB_IMAGES_DIR": "/i", "PATCHLAB_RUNS_DIR": "/r", "PATCHLAB_CACHE_DIR": "/c", "PATCHLAB_RUNTIME_DIR": "/t/",
				"HOME": "/h", "XDG_DATA_HOME": "/d",
			},
			Dirs{Images: "/i", Runs: "/r", Cache: "/c", Runtime: "/t"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := find(func(key string) string { return test.env[key] }, test.uid)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(Dirs{})); diff != "" {
				t.Errorf("directories (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  map[string]string
		want string
	}{
		"no home": {nil, "HOME is not set"},
		"a long own runtime directory": {
			map[string]string{"HOME": "/h", "PATCHLAB_RUNTIME_DIR": "/" + strings.Repeat("x", 60)}, "at most 23 bytes",
		},
		"a relative own runtime directory": {map[string]string{"HOME": "/h", "PATCHLAB_RUNTIME_DIR": "run"}, "absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := find(func(key string) string { return test.env[key] }, 1000)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func below(t *testing.T) Dirs {
	t.Helper()
	root := t.TempDir()
	return Dirs{
		Images: filepath.Join(root, "data/patchlab/images"), Runs: filepath.Join(root, "state/runs"),
		Cache: filepath.Join(root, "cache"), Runtime: filepath.Join(root, "runtime"), uid: os.Getuid(),
	}
}

func TestMakeTwice(t *testing.T) {
	t.Parallel()
	d := below(t)
	for range 2 {
		if err := d.Make(); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{d.Images, d.Runs, d.Cache, d.Runtime} {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			t.Errorf("%s is not there: %v", path, err)
		}
	}
}

func TestMakeRefusesAForeignRuntimeDirectory(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(path string) error{
		"that others may write to": func(path string) error {
			if err := os.Mkdir(path, 0o700); err != nil {
				return err
			}
			return os.Chmod(path, 0o777)
		},
		"that is a link":  func(path string) error { return os.Symlink(t.TempDir(), path) },
		"that is a file":  func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"of another user": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := below(t)
			if plant == nil {
				d.uid++
			} else if err := plant(d.Runtime); err != nil {
				t.Fatal(err)
			}
			if err := d.Make(); err == nil || !strings.Contains(err.Error(), "belongs to you alone") {
				t.Errorf("error is %v", err)
			}
		})
	}
}
