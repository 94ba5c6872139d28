package lab

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
)

func moved() []drift.Drift {
	return []drift.Drift{
		{
			Key: fact.Key{Kind: fact.KindUnit, Name: "nginx.service"}, Change: drift.Changed, Class: drift.Finding,
			Was: map[string]string{"active": "active", "result": "success"},
			Is:  map[string]string{"active": "failed", "result": "exit-code", "sub": "failed"},
		},
		{
			Key: fact.Key{Kind: fact.KindPort, Name: "tcp/*:80"}, Change: drift.Removed, Class: drift.Finding,
			Was: map[string]string{"unit": "nginx.service", "executable": "/usr/sbin/nginx"},
		},
		{
			Key: fact.Key{Kind: fact.KindFile, Name: "/etc/evil\x1b[2J\nname"}, Change: drift.Added, Class: drift.Finding,
			Is: map[string]string{"mode": "0644", "text": "a whole file", "owner": ""},
		},
		{Key: fact.Key{Kind: fact.KindPackage, Name: "openssl:amd64"}, Change: drift.Changed, Class: drift.Expected},
		{Key: fact.Key{Kind: fact.KindProcess, Name: "cron"}, Change: drift.Added, Class: drift.Volatile},
		{Key: fact.Key{Kind: fact.KindPort, Name: "tcp/*:8080"}, Change: drift.Added, Class: drift.Allowed},
	}
}

func TestHaveNoDriftListsWhatMoved(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		which []Which
		want  string
	}{
		"all": {nil, `3 facts have moved since the baseline:
  unit nginx.service: active active -> failed, result success -> exit-code, sub (none) -> failed
  port tcp/*:80: gone, was executable=/usr/sbin/nginx unit=nginx.service
  file /etc/evil name: new mode=0644 owner=""`},
		"one": {
			[]Which{Left("active", "active")},
			"moved since the baseline: unit nginx.service: active active -> failed, result success -> exit-code, sub (none) -> failed",
		},
		"lost":     {[]Which{Lost}, "moved since the baseline: port tcp/*:80: gone, was executable=/usr/sbin/nginx unit=nginx.service"},
		"appeared": {[]Which{Appeared, Named("/etc/*")}, `moved since the baseline: file /etc/evil name: new mode=0644 owner=""`},
		"became":   {[]Which{Became("active", "failed"), Suffixed(".service")}, "moved since the baseline: unit nginx.service: active active -> failed, result success -> exit-code, sub (none) -> failed"},
		"altered":  {[]Which{Altered("sub", "other")}, "moved since the baseline: unit nginx.service: active active -> failed, result success -> exit-code, sub (none) -> failed"},
		"any of": {
			[]Which{AnyOf(Lost, Appeared), func(d drift.Drift) bool { return d.Key.Kind == fact.KindPort }},
			"moved since the baseline: port tcp/*:80: gone, was executable=/usr/sbin/nginx unit=nginx.service",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			matcher := HaveNoDrift(test.which...)
			holds, err := matcher.Match(moved())
			if err != nil || holds {
				t.Fatalf("holds %v, error %v, want a failure", holds, err)
			}
			if diff := cmp.Diff(test.want, matcher.FailureMessage(nil)); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHaveNoDriftPassesOverWhatIsExcused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		drifts []drift.Drift
		which  []Which
	}{
		"no drifts":         {nil, nil},
		"excused ones":      {moved()[3:], nil},
		"not what is asked": {moved(), []Which{Named("no such thing")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if holds, err := HaveNoDrift(test.which...).Match(test.drifts); err != nil || !holds {
				t.Errorf("holds %v, error %v", holds, err)
			}
		})
	}
	if _, err := HaveNoDrift().Match("a name"); err == nil {
		t.Error("a name is no list of drifts, and no error says so")
	}
}

func TestLongListsAreCut(t *testing.T) {
	t.Parallel()
	var many []drift.Drift
	for i := range 100 {
		many = append(many, drift.Drift{Key: fact.Key{Kind: fact.KindFile, Name: fmt.Sprint("/etc/", i)}, Change: drift.Added})
	}
	lines := 0
	for _, r := range Describe(many) {
		if r == '\n' {
			lines++
		}
	}
	if lines != most+1 {
		t.Errorf("%d lines, want %d and one that says how many more", lines, most)
	}
}

func state() *fact.Set {
	set := fact.NewSet(
		fact.Fact{Kind: fact.KindUnit, Name: "nginx.service", Attributes: map[string]string{"active": "failed", "sub": "failed", "result": "exit-code"}},
		fact.Fact{Kind: fact.KindUnit, Name: "ssh.service", Attributes: map[string]string{"active": "active", "sub": "running"}},
		fact.Fact{Kind: fact.KindUnit, Name: "ssh.socket", Attributes: map[string]string{"active": "inactive", "sub": "dead"}},
		fact.Fact{Kind: fact.KindPort, Name: "tcp/*:22"},
		fact.Fact{Kind: fact.KindPort, Name: "tcp/127.0.0.1:25"},
		fact.Fact{Kind: fact.KindPort, Name: "tcp/[::1]:631"},
		fact.Fact{Kind: fact.KindPort, Name: "unix//run/x.sock"},
	)
	return &set
}

func TestStatesAreJudgedByTheFacts(t *testing.T) {
	t.Parallel()
	active, listening := BeActive().(*stated), BeListening().(*stated)
	tests := []struct {
		matcher *stated
		name    string
		want    string // "" = holds
	}{
		{active, "ssh", ""},
		{active, "ssh.service", ""},
		{active, "ssh.socket", "Expected ssh.socket to be active, but it is inactive (dead)"},
		{active, "nginx", "Expected nginx to be active, but it is failed (failed), result exit-code"},
		{active, "exim4", "Expected exim4 to be active, but there is no unit exim4.service"},
		{listening, "tcp/22", ""},
		{listening, "tcp/127.0.0.1:22", ""},
		{listening, "tcp/25", ""},
		{listening, "tcp/127.0.0.1:25", ""},
		{listening, "tcp/631", ""},
		{listening, "tcp/[::1]:631", ""},
		{listening, "unix//run/x.sock", ""},
		{listening, "tcp/10.0.0.1:25", "Expected tcp/10.0.0.1:25 to be listening, but nothing listens there; what does: tcp/*:22, tcp/127.0.0.1:25, tcp/[::1]:631"},
		{listening, "tcp/2", "Expected tcp/2 to be listening, but nothing listens there; what does: tcp/*:22, tcp/127.0.0.1:25, tcp/[::1]:631"},
		{listening, "udp/22", "Expected udp/22 to be listening, but nothing listens there; what does: nothing at all"},
		{listening, "unix//run/y.sock", "Expected unix//run/y.sock to be listening, but nothing listens there; what does: unix//run/x.sock"},
	}
	for _, test := range tests {
		test.matcher.facts = state()
		holds, err := test.matcher.Match(test.name)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if !holds {
			got = test.matcher.FailureMessage(test.name)
		}
		if got != test.want {
			t.Errorf("%s %s: %q, want %q", test.name, test.matcher.what, got, test.want)
		}
	}
}

// recorder is a *testing.T that only notes.
type recorder struct{ skipped, fatal, failed bool }

func (r *recorder) Fail()        { r.failed = true }
func (r *recorder) Fatal(...any) { r.fatal = true }
func (r *recorder) Skip(...any)  { r.skipped = true }

func TestSuitesAreSkippedOutsideOfPatchlab(t *testing.T) {
	t.Parallel()
	var r recorder
	RunSpecs(&r, "shop")
	if !r.skipped || r.fatal || r.failed {
		t.Errorf("skipped %v, fatal %v, failed %v, want skipped alone", r.skipped, r.fatal, r.failed)
	}
}
