package patch_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/scenario"
)

const control = "Package: demo\nVersion: 2:1.0-1\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: test\n"

const spec = `Name: demo
Version: 2
Release: 1
Summary: test
License: none
BuildArch: noarch
AutoReqProv: no
%description
test
%install
install -D -m 0644 %{_sourcedir}/demo.conf %{buildroot}/etc/demo.conf
%files
/etc/demo.conf
`

// source writes a package's source as the embedding of built-in scenarios leaves it: nothing may be executed.
func source(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, "src", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func build(t *testing.T, dir string) (string, error) {
	t.Helper()
	built, err := patch.Builder{Dir: dir, To: t.TempDir()}.Build(t.Context(),
		scenario.Increment{Name: "a", Packages: []string{"src"}})
	return built["src"], err
}

func debSource(t *testing.T) string {
	t.Helper()
	return source(t, map[string]string{
		"DEBIAN/control": control, "DEBIAN/postinst": "#!/bin/sh\nexit 0\n", "DEBIAN/conffiles": "/etc/demo.conf\n",
		"etc/demo.conf": "x\n", "usr/bin/demo": "#!/bin/sh\n",
	})
}

func TestADirectoryWithAControlFileBecomesARootOwnedPackage(t *testing.T) {
	t.Parallel()
	file, err := build(t, debSource(t))
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(file) != "demo_1.0-1_all.deb" {
		t.Errorf("made %s", file)
	}
	listing := list(t, "dpkg-deb", "--contents", file)
	want := `drwxr-xr-x root/root 2024-01-01 ./
drwxr-xr-x root/root 2024-01-01 ./etc/
-rw-r--r-- root/root 2024-01-01 ./etc/demo.conf
drwxr-xr-x root/root 2024-01-01 ./usr/
drwxr-xr-x root/root 2024-01-01 ./usr/bin/
-rwxr-xr-x root/root 2024-01-01 ./usr/bin/demo
`
	if diff := cmp.Diff(want, listing); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	scripts := t.TempDir()
	if output, err := exec.Command("dpkg-deb", "--control", file, scripts).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if info, err := os.Stat(filepath.Join(scripts, "postinst")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the maintainer script cannot be executed: %v, %v", info, err)
	}
}

// list keeps modes, owners, dates and names of a listing as of `ls -l`.
func list(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	output, err := exec.Command(program, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		kept.WriteString(strings.Join([]string{fields[0], fields[1], fields[3], fields[len(fields)-1]}, " ") + "\n")
	}
	return kept.String()
}

func TestTheSameSourceGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	for kind, make := range map[string]func(*testing.T) string{
		"deb": debSource,
		"rpm": func(t *testing.T) string {
			t.Helper()
			return source(t, map[string]string{"demo.spec": spec, "demo.conf": "x\n"})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var contents [2][]byte
			for i := range contents {
				file, err := build(t, make(t)) // another directory, another time
				if err != nil {
					t.Fatal(err)
				}
				if contents[i], err = os.ReadFile(file); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(contents[0], contents[1]) {
				t.Error("two builds differ")
			}
		})
	}
}

func TestADirectoryWithASpecBecomesAnRPM(t *testing.T) {
	t.Parallel()
	file, err := build(t, source(t, map[string]string{"demo.spec": spec, "demo.conf": "x\n"}))
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(file) != "demo-2-1.noarch.rpm" {
		t.Errorf("made %s", file)
	}
}

func TestASourceThatDoesNotBuildIsTheScenariosFault(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"a control file without a version": {"DEBIAN/control": "Package: demo\n"},
		"a spec that fails":                {"demo.spec": strings.Replace(spec, "%install\n", "%install\nexit 3\n", 1)},
	} {
		_, err := build(t, source(t, files))
		var fault *patch.ScenarioError
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), "increment a: building packages/src: ") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestAHostWithoutTheToolIsToldWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := build(t, debSource(t))
	var fault *patch.ScenarioError
	if err == nil || errors.As(err, &fault) || !strings.Contains(err.Error(), "apt-get install --no-install-recommends dpkg") {
		t.Errorf("error is %v", err)
	}
}
