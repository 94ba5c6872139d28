package harness_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/patchlab/patchlab/harness/gc"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
)

// planted is in every secret that these tests plant: one search finds what has leaked.
const planted = "Hunter2"

// plantings are secrets in the forms in which a guest has them.
func plantings() []string {
	return []string{
		"-----BEGIN OPENSSH PRIVATE KEY-----\nHunter2abcdefghijklmnop\n-----END OPENSSH PRIVATE KEY-----",
		"root:$6$saltsalt$Hunter2abcdefghijklmnop:19000:0:99999:7:::",
		"DB_PASSWORD=Hunter2",
		`Acquire::http::Proxy "http://apt:Hunter2@proxy.example.org:3128/";`,
		"api_token: Hunter2",
		"Authorization: Bearer Hunter2abcdefghijklmnop",
	}
}

// plant puts the secrets wherever a guest can say something.
func plant(l *lab) {
	text := strings.Join(plantings(), "\n") + "\n"
	l.onApply["bad"] = func(s *server) {
		s.put("file", "/etc/app.conf", "sha256", "b", "text", text+"changed\n", "type", "file")
		s.put("kernel", "running", "release", "6.1", "cmdline", "quiet api_token=Hunter2")
		s.put("mount", "/srv", "source", "https://web:Hunter2@dav.example.org/", "fstype", "fuse")
		s.set("nginx.service", "enabled", "disabled")
		s.console("[    0.0] Command line: quiet db_password=Hunter2\n" + text)
		s.guest.OnPrefix("journalctl --boot", guesttest.Says(text))
	}
	l.output = text
	l.exitCode = 3 // the output's end becomes evidence
	l.suites.failAfterPatch, l.suites.message = true, "the page says "+text
}

// requireNoSecret searches a directory and a rendered value.
func requireNoSecret(t *testing.T, dir string, value any) {
	t.Helper()
	rendered, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if i := bytes.Index(rendered, []byte(planted)); i >= 0 {
		t.Errorf("the result holds a secret: %s", rendered[max(0, i-100):i+20])
	}
	files := 0
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		if i := bytes.Index(content, []byte(planted)); i >= 0 {
			t.Errorf("%s holds a secret: %q", path, content[max(0, i-60):i+20])
		}
		return err
	})
	if err != nil || files < 8 {
		t.Errorf("%d files were searched, %v", files, err)
	}
}

func TestNoSecretOfAGuestGetsIntoTheEvidence(t *testing.T) {
	for name, arrange := range map[string]func(*lab){
		"an increment that fails":  func(*lab) {},
		"an increment that passes": func(l *lab) { l.exitCode = 0 },
		"a boot that hangs": func(l *lab) {
			l.exitCode = 0
			l.bootsAgain = func(s *server) bool {
				if s.patched {
					s.console("Kernel panic - not syncing: token=Hunter2\n")
				}
				return !s.patched
			}
		},
		"a fallback that does not come up": func(l *lab) {
			l.exitCode = 0
			bad := l.onApply["bad"]
			kernelUpdate(l)
			update := l.onApply["kernel"]
			l.onApply["bad"] = func(s *server) {
				bad(s)
				update(s)
			}
			l.bootsAgain = func(s *server) bool {
				if s.fellBack() {
					s.console("Kernel panic - not syncing: token=Hunter2\n")
				}
				return !s.fellBack()
			}
		},
		"a lab that fails": func(l *lab) {
			l.suites.err = fmt.Errorf("the suite ended without a report; its last words: password=%s", planted)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				plant(l)
				arrange(l)
				s := scripted("bad")
				s.Rescue = scenario.RescueAuto
				result := l.run(s)
				requireNoSecret(t, result.RunDir, result)
			})
		})
	}
}

// TestNoSecretStaysInAKilledRun is about a run that had no time to do it itself.
func TestNoSecretStaysInAKilledRun(t *testing.T) {
	dead := filepath.Join(t.TempDir(), "20261122-000000-dead00")
	for _, name := range []string{rundir.Console, rundir.Overlay, "apply/bad.log", "journal/apply-bad.log", "suites/baseline.json"} {
		file := filepath.Join(dead, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.Join(plantings(), "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"events.log", "commands.log", "downloads.log"} {
		if err := os.WriteFile(filepath.Join(dead, name), []byte("x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := gc.Sweep(t.Context(), gc.Options{Drivers: []hypervisor.Driver{}, RunsDir: filepath.Dir(dead)}); err != nil {
		t.Fatal(err)
	}
	requireNoSecret(t, dead, nil)
}
