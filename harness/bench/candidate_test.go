package bench_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
)

const downloads = `2026-11-22T18:21:27.281Z   0.01s 200 mirror     34770 GET /debian-security/dists/bookworm-security/InRelease
2026-11-22T18:21:33.913Z   0.01s 200 cache    2039888 GET /debian-security/pool/o/libssl3_3.0.22-1~deb12u2_amd64.deb
2026-11-22T18:21:34.096Z   0.01s 404 mirror         0 GET /debian-security/pool/o/gone_1_amd64.deb
2026-11-22T18:22:13.909Z   0.00s 200 cache     115544 GET /debian-security/pool/n/nginx-common_1.22.1-9_all.deb
`

// cache puts files into a package cache, as the proxy keeps them: under the digest of their path, with a record of their own.
func cache(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, content := range files {
		name := hexSum(path)
		if err := os.MkdirAll(filepath.Join(dir, name[:2]), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name[:2], name), content)
		write(t, filepath.Join(dir, name[:2], name+".sha256"), hexSum(content)+"\n")
	}
	return dir
}

func hexSum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func webScenario(t *testing.T, text string) scenario.Scenario {
	t.Helper()
	s, err := scenario.Parse("s.yaml", []byte("schema: 1\nname: web\nimage: debian-12-web\n"+text), ".")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const twoIncrements = `increments:
  - {name: openssl, apt: {packages: [libssl3], suite: security}}
  - {name: nginx, apt: {packages: [nginx-common], suite: security}}
`

func ranWith(t *testing.T, packages ...report.PackageChange) report.Result {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "downloads.log"), downloads)
	return report.Result{RunDir: dir, Packages: packages, Phases: []report.Phase{
		{Name: "apply", Increment: "openssl"}, {Name: "settle", Increment: "openssl", Restarted: []string{"nginx.service"}},
	}}
}

var (
	libssl = report.PackageChange{Name: "libssl3:amd64", From: "3.0.20", To: "3.0.22-1~deb12u2", Increment: "openssl"}
	common = report.PackageChange{Name: "nginx-common:all", From: "1.22", To: "1:1.22.1-9", Increment: "nginx"}
)

func TestTheSamePackagesAreInstalledByHand(t *testing.T) {
	t.Parallel()
	packages := cache(t, map[string]string{
		"/debian-security/pool/o/libssl3_3.0.22-1~deb12u2_amd64.deb": "libssl",
		"/debian-security/pool/n/nginx-common_1.22.1-9_all.deb":      "common",
	})
	dir := t.TempDir()
	got, err := bench.NewCandidate(ranWith(t, libssl, common), webScenario(t, twoIncrements), packages, dir)
	if err != nil {
		t.Fatal(err)
	}
	want := bench.Candidate{
		Increments: []bench.Increment{
			{
				Name: "openssl", Packages: []string{filepath.Join(dir, "openssl/libssl3_3.0.22-1~deb12u2_amd64.deb")},
				Restart: []string{"nginx.service"},
			},
			{Name: "nginx", Packages: []string{filepath.Join(dir, "nginx/nginx-common_1.22.1-9_all.deb")}},
		},
		Force: []string{"--force-confdef", "--force-confold"}, Reboots: 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if content, err := os.ReadFile(want.Increments[0].Packages[0]); err != nil || string(content) != "libssl" {
		t.Errorf("copied %q, %v", content, err)
	}
}

func TestAPackageThatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	gone := report.PackageChange{Name: "gone:amd64", To: "1", Increment: "nginx"}
	removed := report.PackageChange{Name: "old:amd64", From: "1", Increment: "nginx"}
	tests := map[string]struct {
		packages []report.PackageChange
		want     string
	}{
		"swept from the cache":      {[]report.PackageChange{libssl, common}, "nginx-common_1.22.1-9_all.deb from the package cache"},
		"never downloaded":          {[]report.PackageChange{libssl, gone}, "gone_1_amd64.deb"},
		"removed by the candidate":  {[]report.PackageChange{libssl, removed}, "old:amd64 was removed"},
		"an increment without some": {[]report.PackageChange{libssl}, "increment nginx"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			packages := cache(t, map[string]string{"/debian-security/pool/o/libssl3_3.0.22-1~deb12u2_amd64.deb": "libssl"})
			_, err := bench.NewCandidate(ranWith(t, test.packages...), webScenario(t, twoIncrements), packages, t.TempDir())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestWhatCannotBeDoneByHandIsTold(t *testing.T) {
	t.Parallel()
	if err := bench.Feasible(webScenario(t, twoIncrements)); err != nil {
		t.Errorf("packages of apt alone: %v", err)
	}
	for want, change := range map[string]func(*scenario.Scenario){
		"increment openssl": func(s *scenario.Scenario) { s.Increments[0].Script = "x.sh" },
		"increment nginx": func(s *scenario.Scenario) {
			s.Increments[1] = scenario.Increment{Name: "nginx", Packages: []string{"a.deb"}}
		},
		"power-cut": func(s *scenario.Scenario) { s.Reboot = append(s.Reboot, scenario.RebootPowerCut) },
		"hold":      func(s *scenario.Scenario) { s.Hold = []string{"tcp/110"} },
		"given":     func(s *scenario.Scenario) { s.Given = &scenario.Increment{} },
	} {
		s := webScenario(t, twoIncrements)
		change(&s)
		if err := bench.Feasible(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// TestExpectationsAreLinesOfAShell runs what is made of them, with programs that answer as a guest would.
func TestExpectationsAreLinesOfAShell(t *testing.T) {
	s := webScenario(t, twoIncrements+`expect:
  - {service: nginx}
  - {port: tcp/80}
  - http: {url: "http://127.0.0.1/a", status: 200, contains: it's up}
  - {file: {path: /etc/hostname, contains: web}}
`)
	packages := cache(t, map[string]string{
		"/debian-security/pool/o/libssl3_3.0.22-1~deb12u2_amd64.deb": "libssl",
		"/debian-security/pool/n/nginx-common_1.22.1-9_all.deb":      "common",
	})
	candidate, err := bench.NewCandidate(ranWith(t, libssl, common), s, packages, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	good := map[string]string{
		"systemctl": `[ "$*" = "is-active --quiet nginx" ]`,
		"ss":        `[ "$*" = "-Hln --tcp sport = :80" ] && echo LISTEN`,
		"bash":      `printf "HTTP/1.1 200 OK\r\n\r\nit's up\n"`,
		"grep":      `case "$*" in */etc/hostname) exit 0 ;; esac; exec /usr/bin/grep "$@"`,
	}
	bad := map[string]string{
		"systemctl": "exit 3", "ss": "exit 0", "bash": `printf "HTTP/1.1 502 Bad Gateway\r\n\r\nit's up\n"`,
		"grep": `case "$*" in */etc/hostname) exit 1 ;; esac; exec /usr/bin/grep "$@"`,
	}
	for broken := range good {
		t.Run(broken, func(t *testing.T) {
			run := func(broken string) error {
				dir := t.TempDir()
				for name, script := range good {
					if name == broken {
						script = bad[name]
					}
					if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
						t.Fatal(err)
					}
				}
				command := exec.CommandContext(t.Context(), "/bin/sh", "-c", candidate.Check)
				command.Env = []string{"PATH=" + dir}
				return command.Run()
			}
			if err := run(""); err != nil {
				t.Errorf("a guest that is well: %v\n%s", err, candidate.Check)
			}
			if run(broken) == nil {
				t.Error("it is not noticed")
			}
		})
	}
}
