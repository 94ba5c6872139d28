package judge_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/scenario"
)

func TestAUnitsStaleProcessesAreOneFindingWithPidsAndFiles(t *testing.T) {
	baseline := fact.NewSet(webserver()...)
	j := judge.New(judge.Case{Baseline: baseline, Control: baseline, Restart: scenario.RestartNone})
	stale := edit{put: []fact.Fact{
		f(fact.KindStale, "nginx.service /usr/sbin/nginx /lib/libcrypto.so.3", "pids 98,512", "users root,www-data"),
		f(fact.KindStale, "nginx.service /usr/sbin/nginx /lib/libssl.so.3", "pids 98,1024", "users root,www-data"),
		f(fact.KindStale, "nginx.service /usr/bin/logger /lib/libcrypto.so.3", "pids 600", "users root"),
		f(fact.KindStale, "init.scope /lib/systemd/systemd /lib/libcrypto.so.3", "pids 1", "users root"),
		f(fact.KindStale, "user-1000.slice /bin/bash /lib/libc.so.6", "pids 700", "users ops", "tty pts/0"),
	}}
	drifts := j.At(judge.Boundary{Phase: "apply", Increment: "one", RestartsPending: true, Facts: stale.on(webserver())})
	got := map[string]string{}
	for _, f := range j.Findings() {
		got[f.ID+" "+f.Subject.Name] = f.Cause
	}
	want := map[string]string{
		"PL601 init.scope": "/lib/systemd/systemd (pid 1) maps the deleted /lib/libcrypto.so.3",
		"PL601 nginx.service": "/usr/bin/logger (pid 600) maps the deleted /lib/libcrypto.so.3; " +
			"/usr/sbin/nginx (pid 98,512,1024) maps the deleted /lib/libcrypto.so.3, /lib/libssl.so.3",
		"PL601 user-1000.slice": "/bin/bash (pid 700 of ops on pts/0) maps the deleted /lib/libc.so.6",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
	for _, d := range drifts {
		if d.ID != "PL601" {
			t.Errorf("%s names the finding %q, want PL601", d.Key, d.ID)
		}
	}
}
