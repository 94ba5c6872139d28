package mirror_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/mirror"
)

// The hosts are of the reserved top level domain "example": no mirror is named in this repository.
func TestFind(t *testing.T) {
	t.Parallel()
	deb822 := "Types: deb\n# a comment\nURIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\n" +
		"Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n" +
		"Types: deb deb-src\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n" +
		"Components:\n main\n contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
	both := mirror.Mirror{Main: "http://mirror.example/debian", Security: "http://mirror.example/debian-security"}
	for name, test := range map[string]struct {
		files map[string]string
		env   string
		want  mirror.Mirror
	}{
		"deb822 with comments and continued fields": {
			files: map[string]string{"etc/apt/sources.list.d/debian.sources": deb822},
			want:  both,
		},
		"one-line sources with options and comments": {
			files: map[string]string{"etc/apt/sources.list": "# deb http://old.example/debian bookworm main\n" +
				"deb-src http://src.example/debian bookworm main\n" +
				"deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian/ bookworm main # ours\n" +
				"deb\thttp://mirror.example/debian-security bookworm-security main contrib\n"},
			want: both,
		},
		"one-line security suite of before bullseye": {
			files: map[string]string{"etc/apt/sources.list": "deb http://mirror.example/debian buster main\n" +
				"deb http://mirror.example/debian-security buster/updates main\n"},
			want: both,
		},
		"third parties with Debian's suite names are not Debian": {
			files: map[string]string{
				"etc/apt/sources.list.d/a-browser.list": "deb [signed-by=/usr/share/keyrings/browser.gpg] http://browser.example/deb stable main\n",
				"etc/apt/sources.list.d/b-docker.list":  "deb http://containers.example/linux/debian bookworm main\n",
				"etc/apt/sources.list.d/z.list":         "deb http://mirror.example/debian bookworm main\n",
			},
			want: mirror.Mirror{Main: "http://mirror.example/debian"},
		},
		"a disabled stanza does not count": {
			files: map[string]string{"etc/apt/sources.list.d/x.sources": strings.Replace(deb822, "Types: deb\n", "Types: deb\nEnabled: no\n", 1) +
				"\nTypes: deb\nURIs: https://second.example/debian\nSuites: stable\nComponents: main\n"},
			want: mirror.Mirror{Main: "https://second.example/debian", Security: "http://mirror.example/debian-security"},
		},
		"a cloud image's list of mirrors": {
			files: map[string]string{
				"etc/apt/sources.list.d/debian.sources": "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: bookworm\nComponents: main\n",
				"etc/apt/mirrors/debian.list":           "# comment\nhttp://mirror.example/debian\tpriority:1\n",
			},
			want: mirror.Mirror{Main: "http://mirror.example/debian"},
		},
		"other file names are not read": {
			files: map[string]string{
				"etc/apt/sources.list.d/old.list.save": "deb http://old.example/debian bookworm main\n",
				"etc/apt/sources.list":                 "deb http://mirror.example/debian bookworm main\n",
			},
			want: mirror.Mirror{Main: "http://mirror.example/debian"},
		},
		"the environment wins": {
			files: map[string]string{"etc/apt/sources.list.d/debian.sources": deb822},
			env:   "http://own.example:3142/debian/",
			want:  mirror.Mirror{Main: "http://own.example:3142/debian"},
		},
		"the environment names both": {
			env:  "http://own.example/debian  https://own.example/debian-security/",
			want: mirror.Mirror{Main: "http://own.example/debian", Security: "https://own.example/debian-security"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := finder(test.files, test.env).Find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("mirror (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindWithoutAMirrorNamesTheRemedy(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"no APT at all": nil,
		"another distribution": {
			"etc/apt/sources.list": "deb http://mirror.example/ubuntu noble main\n",
		},
		"only local files": {
			"etc/apt/sources.list": "deb file:/srv/debian bookworm main\ndeb cdrom:[Debian]/ bookworm main\n",
		},
		"broken lines": {
			"etc/apt/sources.list": "deb\ndeb [ http://mirror.example/debian bookworm main\ndebx http://mirror.example/debian bookworm main\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := finder(files, "").Find(t.Context())
			if !errors.Is(err, mirror.ErrNone) || !strings.Contains(err.Error(), mirror.Variable) {
				t.Errorf("error %v, want ErrNone with the remedy", err)
			}
		})
	}
}

func TestFindRejectsABadVariable(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"mirror.example/debian", "ftp://mirror.example/debian", "http://a.example http://b.example http://c.example"} {
		if _, err := finder(nil, value).Find(t.Context()); err == nil || !strings.Contains(err.Error(), mirror.Variable) {
			t.Errorf("%q: error %v, want one that names %s", value, err, mirror.Variable)
		}
	}
}

func TestHideLeavesNoMirrorBehind(t *testing.T) {
	t.Parallel()
	m := mirror.Mirror{Main: "http://mirror.example:8080/debian", Security: "http://security.example/debian-security"}
	got := m.Hide("Err:1 http://mirror.example:8080/debian bookworm; cannot resolve mirror.example; http://security.example/debian-security x")
	want := "Err:1 http://debian.patchlab.invalid/debian bookworm; cannot resolve debian.patchlab.invalid; " +
		"http://debian.patchlab.invalid/debian-security x"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func FuzzFindNeverPanics(f *testing.F) {
	f.Add("deb [signed-by=x] http://mirror.example/debian bookworm main\n", "Types: deb\nURIs:\n http://x\n")
	f.Fuzz(func(t *testing.T, list, sources string) {
		files := map[string]string{"etc/apt/sources.list": list, "etc/apt/sources.list.d/x.sources": sources}
		if m, err := finder(files, "").Find(t.Context()); err == nil && !strings.HasPrefix(m.Main, "http") {
			t.Errorf("mirror %q", m.Main)
		}
	})
}

func finder(files map[string]string, env string) mirror.Finder {
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return mirror.Finder{Root: root, Getenv: func(name string) string {
		if name == mirror.Variable {
			return env
		}
		return ""
	}}
}
