package judge_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
)

func TestAnUpdateOfTheTrustStoreIsOneFindingThatNamesTheAuthorities(t *testing.T) {
	link := func(name, target string) fact.Fact {
		return f(fact.KindFile, "/etc/ssl/certs/"+name, "type link", "target "+target)
	}
	before := append(webserver(),
		f(fact.KindPackage, "ca-certificates:all", "version 1", "status installed"),
		f(fact.KindFile, "/etc/ca-certificates.conf", "type file", "sha256 old"),
		f(fact.KindFile, "/etc/ssl/certs/ca-certificates.crt", "type file", "sha256 old"),
		f(fact.KindFile, "/etc/ssl/certs/web.pem", "type file", "sha256 www"),
		link("Old_Root.pem", "/usr/share/ca-certificates/mozilla/Old_Root.crt"), link("0a.0", "Old_Root.pem"),
		link("Kept_Root.pem", "/usr/share/ca-certificates/mozilla/Kept_Root.crt"),
	)
	updated := edit{
		put: []fact.Fact{
			f(fact.KindPackage, "ca-certificates:all", "version 2", "status installed"),
			f(fact.KindFile, "/etc/ca-certificates.conf", "type file", "sha256 new"),
			f(fact.KindFile, "/etc/ca-certificates.conf.dpkg-old", "type file", "sha256 old"),
			f(fact.KindFile, "/etc/ssl/certs/ca-certificates.crt", "type file", "sha256 new"),
			link("New_Root.pem", "/usr/share/ca-certificates/mozilla/New_Root.crt"), link("1b.0", "New_Root.pem"),
			link("2c.0", "web.pem"), // hashed by the way: now it is trusted as well
		},
		drop: []string{"/etc/ssl/certs/Old_Root.pem", "/etc/ssl/certs/0a.0"},
	}
	baseline := fact.NewSet(before...)
	j := judge.New(judge.Case{Baseline: baseline, Control: baseline})
	drifts := j.At(judge.Boundary{Phase: "apply", Increment: "everything", Facts: updated.on(before)})
	var got []string
	for _, f := range j.Findings() {
		got = append(got, strings.Join([]string{f.ID, string(f.Severity), f.Subject.Name, f.Title, f.Was, f.Is, f.Cause}, "; "))
	}
	want := []string{"PL405; warning; /etc/ssl/certs; the guest trusts 2 authorities more, and 1 authority no longer; Old_Root; " +
		"New_Root, web; increment everything moved ca-certificates"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	for _, d := range drifts {
		if d.Key.Kind == fact.KindFile && (d.Class != drift.Finding || d.ID != "PL405") {
			t.Errorf("%s has class %q, finding %q", d.Key, d.Class, d.ID)
		}
	}
}
