package harness_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func TestAFindingAboutAFileQuotesWhatChangedInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["file"] = func(s *server) {
			s.put("file", "/etc/short.conf", "type", "file", "sha256", "s", "text", "-- first\nsecond\n")
			s.put("file", "/etc/long.conf", "type", "file", "sha256", "l", "text", strings.Repeat("again\n", 20))
			s.put("file", "/etc/binary", "type", "file", "sha256", "b")
		}
		got := map[string][]string{}
		for _, f := range lab.run(scripted("file")).Findings {
			for _, e := range f.Evidence {
				if strings.HasPrefix(e.File, "diffs/") {
					got[f.Subject.Name] = e.Lines
				}
			}
		}
		want := map[string][]string{
			"/etc/short.conf": {"+-- first", "+second"},
			"/etc/long.conf":  {"+again", "+again", "+again", "+again", "+again", "+again", "+again", "+again", "..."},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("quoted lines (-want +got):\n%s", diff)
		}
	})
}

func TestAFindingAboutAPackagePointsAtWhatThePackageManagerSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["removes"] = func(s *server) { s.drop("libssl3:amd64") }
		var files []string
		for _, f := range lab.run(scripted("removes")).Findings {
			for _, e := range f.Evidence {
				files = append(files, f.ID+" "+e.File)
			}
		}
		if diff := cmp.Diff([]string{"PL501 facts/apply-removes.json", "PL501 apply/removes.log"}, files); diff != "" {
			t.Errorf("evidence (-want +got):\n%s", diff)
		}
	})
}
