package scenario_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchlab/patchlab/harness/scenario"
)

var update = flag.Bool("update", false, "write the golden files")

func TestBrokenFilesAreToldAllTheirMistakes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(files) < 9 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	here, err := filepath.Abs("testdata/broken")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			got, err := scenario.Load(file)
			if err == nil {
				t.Fatalf("was accepted: %+v", got)
			}
			if diff := cmp.Diff(scenario.Scenario{}, got); diff != "" {
				t.Errorf("a broken file gave a scenario:\n%s", diff)
			}
			text := strings.ReplaceAll(err.Error(), here, "HERE") + "\n"
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	t.Parallel()
	got, err := scenario.Load("testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	day := func(year int, month time.Month, d int) scenario.Date {
		return scenario.Date{Time: time.Date(year, month, d, 0, 0, 0, 0, time.UTC)}
	}
	empty := ""
	want := scenario.Scenario{
		Schema: 1, Name: "full", Description: "Every key that this version supports.", Image: "debian-12-web",
		Given: &scenario.Increment{
			Name: "given", APT: &scenario.APT{Packages: []string{"rpm"}, Suite: "bookworm", Mode: "with-new-pkgs"},
			Files: []scenario.File{{From: "payload/x.conf", To: "/etc/given.conf", Mode: "0644", Owner: "root:root"}},
		},
		Hold: []string{"tcp/7", "tcp/80"},
		Increments: []scenario.Increment{
			{Name: "openssl", APT: &scenario.APT{
				Packages: []string{"openssl", "libssl3:amd64"}, Suite: "bookworm-security", Mode: "full-upgrade",
			}},
			{
				Name: "own", Packages: []string{"payload/a_1_amd64.deb", "payload/b_1_all.deb"},
				Files: []scenario.File{
					{From: "payload/x.conf", To: "/etc/ssh/sshd_config.d/50-x.conf", Mode: "0644", Owner: "root:root"},
					{From: "payload/x.conf", To: "/etc/x.conf", Mode: "0600", Owner: "www-data:www-data"},
				},
				Script: "payload/apply.sh", Services: &scenario.Services{Restart: []string{"ssh", "getty@tty1.service"}},
			},
			{Name: "sources", Packages: []string{"payload/deb", "payload/rpm"}, RPM: scenario.RPMUpgrade},
			{Name: "all", APT: &scenario.APT{Suite: "bookworm-security", Mode: "with-new-pkgs"}},
		},
		Restart: scenario.RestartAll, Reboot: []scenario.Reboot{}, Rescue: scenario.RescueNever,
		Conffiles: scenario.ConffilesAsk, Suites: []string{"services"},
		Expect: []scenario.Expect{
			{Service: "nginx"},
			{Port: "tcp/80"},
			{HTTP: &scenario.HTTP{URL: "http://127.0.0.1/", Status: 200, Contains: "ok"}},
			{Command: &scenario.Command{Run: "psql -Atc 'select 1'", User: "postgres", Stdout: &empty}},
			{File: &scenario.Content{Path: "/etc/motd", Contains: "prod"}},
		},
		Allow: []scenario.Allowance{
			{
				Kind: "port", Name: "tcp/*:8080", Change: "added", Reason: "new admin page", Owner: "web team",
				Until: day(2027, 1, 31),
			},
			{Kind: "file", Name: "/etc/nginx/*", Reason: "r", Owner: "o", Until: day(2020, 1, 1)},
		},
		Rollback: &scenario.Rollback{}, People: scenario.People{Primary: "a", Backup: "b", Developers: []string{"c"}},
		Sources:  []string{"https://example.org/advisories"},
		Timeouts: scenario.Timeouts{Boot: 10 * time.Minute, Apply: 30 * time.Minute},
		Truth: &scenario.Truth{
			Outcome: "regression", Findings: []string{"PL103"}, Increments: []string{"own"}, Phase: "apply", BootStage: "ready",
			Fallback: scenario.FallbackProven, Rescue: scenario.RescueFound,
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(scenario.Scenario{}, "Dir", "Source")); diff != "" {
		t.Errorf("scenario (-want +got):\n%s", diff)
	}
	if !filepath.IsAbs(got.Dir) || len(got.Source) == 0 {
		t.Errorf("directory is %q, %d bytes of source", got.Dir, len(got.Source))
	}
	wantWarnings := []string{"allow[1]: the allowance for file /etc/nginx/* has expired on 2020-01-01 and allows nothing"}
	if diff := cmp.Diff(wantWarnings, got.Warnings(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := scenario.Parse("s.yaml", []byte(
		"schema: 1\nname: s\nimage: i1\nincrements: [{name: a, apt: {suite: bookworm-security}}]\n"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if got.Restart != scenario.RestartAdvised || got.Conffiles != scenario.ConffilesKeep ||
		!cmp.Equal(got.Reboot, []scenario.Reboot{scenario.RebootClean}) || !cmp.Equal(got.Suites, scenario.Suites()) ||
		got.Increments[0].APT.Mode != "with-new-pkgs" || got.Truth != nil {
		t.Errorf("defaults are %+v", got)
	}
}

func TestAnAllowanceCountsOnItsLastDay(t *testing.T) {
	t.Parallel()
	a := scenario.Allowance{Until: scenario.Date{Time: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)}}
	if a.Expired(time.Date(2027, 1, 31, 23, 59, 59, 0, time.UTC)) {
		t.Error("expired on its last day")
	}
	if !a.Expired(time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)) {
		t.Error("not expired on the day after")
	}
}

func TestAPayloadMayNotLeaveTheDirectoryThroughALink(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(outside, "secret.deb"), []byte("x"), 0o600),
		os.WriteFile(filepath.Join(dir, "real.deb"), []byte("x"), 0o600),
		os.Symlink("real.deb", filepath.Join(dir, "inside.deb")),
		os.Symlink(filepath.Join(outside, "secret.deb"), filepath.Join(dir, "link.deb")),
		os.Symlink(outside, filepath.Join(dir, "away")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for pattern, ok := range map[string]bool{
		"real.deb": true, "inside.deb": true, "link.deb": false, "away/secret.deb": false, "away/*.deb": false, "l*.deb": false,
	} {
		file := "schema: 1\nname: s\nimage: i1\nincrements: [{name: a, packages: [\"" + pattern + "\"]}]\n"
		_, err := scenario.Parse("s.yaml", []byte(file), dir)
		if ok && err != nil {
			t.Errorf("%s was refused: %v", pattern, err)
		}
		if !ok && (err == nil || !strings.Contains(err.Error(), "is a link out of the scenario's directory")) {
			t.Errorf("%s: error is %v", pattern, err)
		}
	}
}

func TestLoadNamesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "there is no scenario file",
		dir:                             "is a directory",
	} {
		if _, err := scenario.Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", path, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/broken/*.yaml", "testdata/good/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scenario.Parse("f.yaml", data, t.TempDir())
		if err == nil && (s.Name == "" || len(s.Increments) == 0) {
			t.Errorf("accepted without a name or an increment: %+v", s)
		}
	})
}
