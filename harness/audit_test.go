package harness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
)

// mounts gives a guest a table with a mount whose disk is not there.
func mounts(s *server, point string) {
	s.put("file", "/etc/fstab", "type", "file", "sha256", point)
	s.put(fact.KindBoot, "fstab "+point, "source", "UUID=gone", "fstype", "ext4")
}

func findingOf(result report.Result, id string) verdict.Finding {
	for _, f := range result.Findings {
		if f.ID == id {
			return f
		}
	}
	return verdict.Finding{}
}

func TestWhatWouldNotComeBackIsToldBeforeTheRebootAndBlamedOnWhoTouchedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onUp = func(s *server) {
			s.put("file", "/etc/fstab", "type", "file", "sha256", "as it was")
			s.put(fact.KindBoot, "running", "release", "6.1")
		}
		lab.onApply["first"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		lab.onApply["second"] = func(s *server) { mounts(s, "/data") }
		result := lab.run(scripted("first", "second"))
		f := findingOf(result, "PL705")
		if result.Outcome != verdict.Regression || f.Phase != "audit" || f.Increment != "second" || f.Subject.Name != "/data" {
			t.Errorf("%s, %+v", result.Outcome, f)
		}
		if len(f.Evidence) != 1 || f.Evidence[0].File != "facts/audit-clean.json" {
			t.Errorf("evidence is %+v", f.Evidence)
		}
		for _, name := range []string{"audit-clean.json", "baseline-boot.json"} {
			if _, err := os.Stat(filepath.Join(result.RunDir, "facts", name)); err != nil {
				t.Errorf("the evidence is not there: %v", err)
			}
		}
	})
}

func TestWhatWouldNotComeBackWithoutThePatchIsOldRot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onUp = func(s *server) { mounts(s, "/data") }
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		result := lab.run(scripted("good"))
		f := findingOf(result, "PL108")
		if result.Outcome != verdict.Pass || !strings.Contains(f.Cause, "PL705") || findingOf(result, "PL705").ID != "" {
			t.Errorf("%s, %+v, %+v", result.Outcome, f, result.Findings)
		}
	})
}

func TestAHalfInstalledGuestIsAskedWhetherItWouldBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.exitCode = 1
		lab.onUp = func(s *server) { s.put(fact.KindBoot, "running", "release", "6.1") }
		lab.onApply["bad"] = func(s *server) { mounts(s, "/data") }
		result := lab.run(scripted("bad"))
		if f := findingOf(result, "PL705"); result.Outcome != verdict.ApplyFailed || f.Phase != "audit" || f.Increment != "bad" {
			t.Errorf("%s, %+v", result.Outcome, f)
		}
	})
}
