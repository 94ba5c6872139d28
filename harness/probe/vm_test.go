//go:build vmtest

package probe_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/keptguest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/probe"
)

func dial(t *testing.T) guest.Conn {
	t.Helper()
	config, err := keptguest.Config(os.Getenv(keptguest.Variable))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := sshguest.New(config).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func installed(t *testing.T) guest.Conn {
	t.Helper()
	conn := dial(t)
	for range 2 {
		began := time.Now()
		if err := probe.Install(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		t.Logf("install: %v", time.Since(began))
	}
	return conn
}

func TestTwoRunsOverARealGuestReadTheSame(t *testing.T) {
	conn := installed(t)
	known := knownOfKept(t)
	var sets [3][]fact.Fact
	for i := range sets {
		began := time.Now()
		doc, err := probe.Facts(t.Context(), conn, conn, known)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("facts: %v, %d facts", time.Since(began), doc.Facts.Len())
		if len(doc.Notes) > 0 {
			t.Errorf("notes: %v", doc.Notes)
		}
		sets[i] = doc.Facts.All()
	}
	for _, later := range sets[1:] {
		if diff := cmp.Diff(sets[0], later); diff != "" {
			t.Error(diff)
		}
	}
}

// The unit file states are the probe's own reading of systemd's rules: here they are held against systemd's.
func TestUnitFileStatesAreSystemds(t *testing.T) {
	conn, known := installed(t), knownOfKept(t)
	doc, err := probe.Facts(t.Context(), conn, conn, known)
	if err != nil {
		t.Fatal(err)
	}
	result, err := conn.Run(t.Context(), guest.Command{Line: "systemctl list-unit-files --full --no-legend --no-pager " +
		"--type=service,socket,timer,mount,target,path"})
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string]string{}, map[string]string{}
	for line := range strings.Lines(string(result.Stdout)) {
		if w := strings.Fields(line); len(w) >= 2 {
			want[w[0]] = w[1]
			unit, _ := doc.Facts.Get(fact.KindUnit, w[0])
			got[w[0]] = unit.Attribute("enabled")
		}
	}
	if len(want) < 100 {
		t.Errorf("systemd lists %d unit files, want a hundred or more", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAJobOnARealGuestIsStartedOnceAndFollowed(t *testing.T) {
	conn := installed(t)
	const name = "probe-vmtest"
	clear := func() {
		if _, err := conn.Run(t.Context(), guest.Command{Line: "rm -rf /run/patchlab/jobs/" + name}); err != nil {
			t.Error(err)
		}
	}
	clear()
	script := "#!/bin/sh\necho one\nsleep 2\necho two >&2\nexit 3\n"
	if err := conn.Put(t.Context(), probe.JobPath(name), 0o700, strings.NewReader(script)); err != nil {
		t.Fatal(err)
	}
	for _, run := range []struct {
		offset int64
		want   string
	}{{0, "one\ntwo\n"}, {4, "two\n"}} {
		var out bytes.Buffer
		exit, err := probe.RunJob(t.Context(), conn, name, run.offset, &out)
		if err != nil || exit != 3 || out.String() != run.want {
			t.Errorf("RunJob(offset %d) = %d, %v, output %q; want 3 and %q", run.offset, exit, err, out.String(), run.want)
		}
	}
	clear()
	if _, err := probe.RunJob(t.Context(), conn, name, 0, &bytes.Buffer{}); err == nil || errors.Is(err, probe.ErrJobDied) {
		t.Errorf("RunJob without a job = %v, want an error that says so", err)
	}
}

func TestARealGuestSettles(t *testing.T) {
	conn := installed(t)
	settled, err := probe.Settle(t.Context(), conn, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	id, err := probe.BootID(t.Context(), conn)
	if err != nil || id != settled.BootID || settled.UptimeSeconds <= 0 {
		t.Errorf("BootID() = %q, %v; settled %+v", id, err, settled)
	}
}
