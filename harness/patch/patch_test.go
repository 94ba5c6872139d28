package patch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/scenario"
)

const downloading = "export DEBIAN_FRONTEND=noninteractive"

func stager(t *testing.T, script *guesttest.Script) patch.Stager {
	t.Helper()
	conn, err := script.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return patch.Stager{
		Conn: conn, Dir: t.TempDir(), Conffiles: scenario.ConffilesKeep, Release: "bookworm", Proxy: "127.0.0.1:40000",
	}
}

func content(t *testing.T, script *guesttest.Script, path string) string {
	t.Helper()
	file, found := script.File(path)
	if !found {
		t.Fatalf("%s was not staged", path)
	}
	return string(file.Content)
}

var security = scenario.APT{Packages: []string{"openssl", "libssl3"}, Suite: "bookworm-security", Mode: "with-new-pkgs"}

func TestAnUpdateIsDownloadedThroughTheProxyAndInstalledOffline(t *testing.T) {
	script := guesttest.NewScript()
	script.OnPrefix(downloading, guesttest.Says("openssl (3.0.20 => 3.0.22)\n\n@archives\nlibssl3_3.0.22_amd64.deb\npartial\n"))
	job, err := stager(t, script).Stage(t.Context(), scenario.Increment{Name: "openssl", APT: &security})
	if err != nil {
		t.Fatal(err)
	}
	want := `#!/bin/sh
# The increment openssl, offline.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root APT_CONFIG='/var/cache/patchlab/openssl/apt.conf'
apt-get --no-download --only-upgrade --no-remove install -- 'openssl' 'libssl3'
`
	if diff := cmp.Diff(want, job.Script); diff != "" {
		t.Errorf("script (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"libssl3_3.0.22_amd64.deb"}, job.Staged); diff != "" {
		t.Errorf("staged (-want +got):\n%s", diff)
	}
	list := content(t, script, "/var/cache/patchlab/openssl/sources.list")
	if want := "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://debian.patchlab.invalid/debian-security bookworm-security main\n"; list != want {
		t.Errorf("sources.list is %q, want %q", list, want)
	}
	conf := content(t, script, "/var/cache/patchlab/openssl/apt.conf")
	for _, line := range []string{
		`Acquire::http::Proxy "http://127.0.0.1:40000";`, `Dpkg::Options {"--force-confdef";"--force-confold";};`,
		`Dir::State::lists "/var/cache/patchlab/openssl/lists";`,
	} {
		if !strings.Contains(conf, line+"\n") {
			t.Errorf("apt.conf lacks %s:\n%s", line, conf)
		}
	}
}

func TestTheReleasesOwnPocketIsAskedOnlyWhenTheSuiteAloneDoesNotResolve(t *testing.T) {
	script := guesttest.NewScript()
	script.OnMatch(func(c guest.Command) bool { return strings.HasPrefix(c.Line, downloading) },
		func(context.Context, guest.Command) guest.Result {
			list, _ := script.File("/var/cache/patchlab/openssl/sources.list")
			if strings.Count(string(list.Content), "\n") == 1 {
				return guest.Result{ExitCode: 100, Stdout: []byte("E: Unmet dependencies\n")}
			}
			return guest.Result{Stdout: []byte("\n@archives\nnew_1_all.deb\n")}
		})
	job, err := stager(t, script).Stage(t.Context(), scenario.Increment{Name: "openssl", APT: &security})
	if err != nil || len(job.Staged) != 1 {
		t.Fatalf("staged %v, error %v", job.Staged, err)
	}
	list := content(t, script, "/var/cache/patchlab/openssl/sources.list")
	if want := " http://debian.patchlab.invalid/debian bookworm main\n"; !strings.HasSuffix(list, want) {
		t.Errorf("sources.list is %q", list)
	}
}

func TestAPocketBelongsToTheReleaseOfTheImage(t *testing.T) {
	pocket := scenario.APT{Packages: []string{"openssl"}, Suite: "security", Mode: "with-new-pkgs"}
	script := guesttest.NewScript()
	script.OnPrefix(downloading, guesttest.Says("\n\n@archives\nopenssl_1_amd64.deb\n"))
	s := stager(t, script)
	s.Release = "trixie"
	if _, err := s.Stage(t.Context(), scenario.Increment{Name: "openssl", APT: &pocket}); err != nil {
		t.Fatal(err)
	}
	list := content(t, script, "/var/cache/patchlab/openssl/sources.list")
	if want := " http://debian.patchlab.invalid/debian-security trixie-security main\n"; !strings.HasSuffix(list, want) {
		t.Errorf("sources.list is %q, want %q", list, want)
	}

	s.Release = ""
	_, err := s.Stage(t.Context(), scenario.Increment{Name: "openssl", APT: &pocket})
	var wrong *patch.ScenarioError
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "name the suite in full, such as bookworm-security") {
		t.Errorf("an image of no known release gives %v", err)
	}
}

func TestWhatThePackageManagerRefusesIsTheCandidatesFault(t *testing.T) {
	script := guesttest.NewScript()
	script.OnPrefix(downloading, guesttest.Exits(100, "E: Unmet dependencies. Try something else\n", ""))
	_, err := stager(t, script).Stage(t.Context(), scenario.Increment{Name: "openssl", APT: &security})
	var refused *patch.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "Unmet dependencies") {
		t.Errorf("error %v, want that the package manager refused", err)
	}
}

func TestALostConnectionIsNobodysFault(t *testing.T) {
	script := guesttest.NewScript()
	script.OnPrefix(downloading, func(context.Context, guest.Command) guest.Result {
		script.Cut()
		return guest.Result{}
	})
	_, err := stager(t, script).Stage(t.Context(), scenario.Increment{Name: "openssl", APT: &security})
	var refused *patch.RefusedError
	if !errors.Is(err, guest.ErrLost) || errors.As(err, &refused) {
		t.Errorf("error %v, want a lost connection", err)
	}
}

func TestAnUpdateThatIsInstalledAlreadyIsNothingToTest(t *testing.T) {
	script := guesttest.NewScript()
	script.OnPrefix(downloading, guesttest.Says("0 upgraded\n\n@archives\nlock\npartial\n"))
	script.OnPrefix("dpkg-query -W", guesttest.Says("openssl 3.0.22, libssl3 3.0.22, "))
	_, err := stager(t, script).Stage(t.Context(), scenario.Increment{Name: "openssl", APT: &security})
	want := "increment openssl changes nothing, so there is nothing to test; installed: openssl 3.0.22, libssl3 3.0.22"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestPartsOfAnIncrementComeInTheirOrderAndAreQuoted(t *testing.T) {
	script := guesttest.NewScript()
	s := stager(t, script)
	for name, text := range map[string]string{"x.conf": "x", "it's_1_all.deb": "deb", "apply.sh": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	job, err := s.Stage(t.Context(), scenario.Increment{
		Name: "all", Packages: []string{"it's_1_all.deb"}, Script: "apply.sh",
		Files:    []scenario.File{{From: "x.conf", To: "/etc/a b.conf", Mode: "0640", Owner: "root:adm"}},
		Services: &scenario.Services{Restart: []string{"cron"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `install -D -m '0640' -o 'root' -g 'adm' -- '/var/cache/patchlab/all/file-0' '/etc/a b.conf'
mkdir -p '/var/cache/patchlab/all/archives/partial'
apt-get --allow-downgrades install -- '/var/cache/patchlab/all/packages/it'\''s_1_all.deb'
cd '/var/cache/patchlab/all/script'
chmod 0755 '/var/cache/patchlab/all/script/apply.sh'
'/var/cache/patchlab/all/script/apply.sh'
systemctl restart -- 'cron'
`
	_, body, _ := strings.Cut(job.Script, "apt.conf'\n")
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("script (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/etc/a b.conf"}, job.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if job.OnlyPackages {
		t.Error("the increment counts as one that only installs packages")
	}
}

func TestWhatIsGivenMayBeNewToTheGuestOrThereAlready(t *testing.T) {
	script := guesttest.NewScript()
	script.OnPrefix(downloading, guesttest.Says("0 upgraded\n\n@archives\nlock\npartial\n"))
	s := stager(t, script)
	s.Anew = true
	job, err := s.Stage(t.Context(), scenario.Increment{Name: "given", APT: &security})
	if err != nil {
		t.Fatal(err)
	}
	if want := "apt-get --no-download --no-remove install -- 'openssl' 'libssl3'\n"; !strings.HasSuffix(job.Script, want) {
		t.Errorf("script is %s", job.Script)
	}
}

func TestRPMsAreInstalledByTheGuestsOwnRPM(t *testing.T) {
	for mode, option := range map[string]string{scenario.RPMUpgrade: "--upgrade", scenario.RPMInstall: "--install"} {
		script := guesttest.NewScript()
		script.On("command -v rpm", guesttest.Says("/usr/bin/rpm\n"))
		s := stager(t, script)
		if err := os.WriteFile(filepath.Join(s.Dir, "k-1-1.x86_64.rpm"), []byte("rpm"), 0o600); err != nil {
			t.Fatal(err)
		}
		job, err := s.Stage(t.Context(), scenario.Increment{Name: "k", Packages: []string{"k-1-1.x86_64.rpm"}, RPM: mode})
		if err != nil {
			t.Fatal(err)
		}
		want := "force=\nif [ -e /etc/debian_version ]; then force=--force-debian; fi\n" +
			"rpm " + option + " $force -- '/var/cache/patchlab/k/packages/k-1-1.x86_64.rpm'\n"
		if _, body, _ := strings.Cut(job.Script, "apt.conf'\n"); body != want || !job.OnlyPackages {
			t.Errorf("%s: script is %q", mode, body)
		}
	}
}

func TestAGuestWithoutRPMIsTheScenariosFault(t *testing.T) {
	script := guesttest.NewScript()
	script.On("command -v rpm", guesttest.Exits(127, "", ""))
	s := stager(t, script)
	if err := os.WriteFile(filepath.Join(s.Dir, "k.rpm"), []byte("rpm"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.Stage(t.Context(), scenario.Increment{Name: "k", Packages: []string{"k.rpm"}})
	var fault *patch.ScenarioError
	if !errors.As(err, &fault) || !strings.Contains(err.Error(), "given: {apt: {packages: [rpm], suite: bookworm}}") {
		t.Errorf("error is %v", err)
	}
}

func TestADigestCoversKeysAndPayload(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	increment := scenario.Increment{
		Name: "given", Packages: []string{"src"}, Script: "apply.sh", Files: []scenario.File{{From: "x.conf", To: "/etc/x"}},
	}
	write("src/DEBIAN/control", "Package: a\n")
	write("apply.sh", "true\n")
	write("x.conf", "x\n")
	seen := map[string]string{}
	note := func(what string) {
		t.Helper()
		digest, err := patch.Digest(dir, increment)
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[digest]; twice {
			t.Errorf("%s does not change the digest: as %s", what, other)
		}
		seen[digest] = what
	}
	note("the first one")
	write("src/DEBIAN/control", "Package: b\n")
	note("a package's source")
	write("src/etc/new", "")
	note("a new file in it")
	write("apply.sh", "false\n")
	note("the script")
	write("x.conf", "y\n")
	note("a file")
	increment.Files[0].To = "/etc/y"
	note("a key")
}

func TestWhatAPTSaysTellsWhoseFaultItIs(t *testing.T) {
	for output, want := range map[string]error{
		"E: Unable to correct problems, you have held broken packages.\n":                                        &patch.RefusedError{},
		"\n@lists\nE: Release file for http://x is not valid yet (invalid for another 3h).\n":                    &patch.FetchError{},
		"\n@lists\nE: Failed to fetch http://x/InRelease  Clearsigned file isn't valid\n":                        &patch.FetchError{},
		"Get:1 x\nE: Failed to fetch http://x/a.deb  Hash Sum mismatch\nE: Unable to fetch some archives\n":      &patch.FetchError{},
		"\n@lists\nE: The repository 'http://x bookwurm-security Release' does not have a Release file.\n":       &patch.ScenarioError{},
		"E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.\n\n@lists": &patch.RefusedError{},
	} {
		script := guesttest.NewScript()
		script.OnPrefix(downloading, guesttest.Exits(100, output, ""))
		_, err := stager(t, script).Stage(t.Context(), scenario.Increment{Name: "openssl", APT: &security})
		if got := fmt.Sprintf("%T", err); got != fmt.Sprintf("%T", want) {
			t.Errorf("%q is %s (%v), want %T", output, got, err, want)
		}
	}
}
