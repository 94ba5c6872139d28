//go:build vmtest

package probe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/keptguest"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/rundir"
)

// knownOfKept is what the run that kept the guest knew of its files.
func knownOfKept(t *testing.T) *probe.Files {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(os.Getenv(keptguest.Variable), rundir.KnownFiles))
	if err != nil {
		t.Fatal(err)
	}
	_, document, _ := bytes.Cut(content, []byte("\n"))
	known := &probe.Files{}
	if err := json.Unmarshal(document, known); err != nil {
		t.Fatal(err)
	}
	return known
}

func read(t *testing.T, conn guest.Conn, known *probe.Files) probe.Reading {
	t.Helper()
	began := time.Now()
	reading, err := probe.Facts(t.Context(), conn, conn, known)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d facts in %v, for which %d files were read", reading.Facts.Len(), time.Since(began), reading.Sent)
	return reading
}

func sh(t *testing.T, conn guest.Conn, script string) {
	t.Helper()
	command := guest.Command{Line: "sh -eux", Stdin: strings.NewReader(script)}
	result, err := conn.Run(context.WithoutCancel(t.Context()), command) // it clears up after tests, too
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// places are where changes are planted.
var places = []string{"/usr/lib/planted", "/etc/planted", "/boot/planted", "/root/planted", "/var/lib/planted"}

const (
	prepare = `cd %s; for f in content same mode owner removed replaced linked caps; do echo "$f of before" >$f; chmod 644 $f; done
chmod 755 caps; ln -s content link; mkdir dir; touch -d '2020-01-01 12:00' *`
	plant = `cd %s; touch -r content /run/planted.time
echo "another" >>content; touch -r /run/planted.time content
printf 'x' | dd of=same conv=notrunc status=none; touch -r /run/planted.time same
chmod 4755 mode; chown nobody owner; rm removed; echo new >new; echo "replaced of AFTER!" >r; touch -r /run/planted.time r; mv r replaced
ln linked other; ln -sfn same link; chmod 777 dir; touch -h -r /run/planted.time link *
setcap cap_net_raw+ep caps 2>/dev/null || /sbin/setcap cap_net_raw+ep caps`
)

// The times of the planted files are put back, as somebody does who does not want to be found.
func TestPlantedChangesAreFoundByTheSecondReading(t *testing.T) {
	conn := installed(t)
	clear := "rm -rf " + strings.Join(places, " ")
	sh(t, conn, clear)
	t.Cleanup(func() { sh(t, conn, clear) })
	for _, place := range places {
		sh(t, conn, "mkdir "+place+"; "+fmt.Sprintf(prepare, place))
	}
	sh(t, conn, "sync; sleep 3") // what was changed just now would be read in any case
	before := read(t, conn, knownOfKept(t))
	known := read(t, conn, before.Files).Files
	if again := read(t, conn, known); again.Sent > 200 { // the planted ones, and what moved since the index was made
		t.Errorf("%d files of an idle guest were read", again.Sent)
	}
	for _, place := range places {
		sh(t, conn, fmt.Sprintf(plant, place))
	}
	after := read(t, conn, known)
	found := map[string]string{}
	for _, d := range drift.Compare(before.Facts, after.Facts) {
		var moved []string
		for name := range d.Is {
			if d.Change == drift.Changed {
				moved = append(moved, name)
			}
		}
		slices.Sort(moved)
		found[d.Key.Name] = strings.TrimSpace(string(d.Change) + " " + strings.Join(moved, ","))
	}
	for _, place := range places {
		for name, want := range map[string]string{
			"content": "changed sha256", "same": "changed sha256", "mode": "changed mode", "owner": "changed owner", "removed": "removed",
			"new": "added", "replaced": "changed sha256", "other": "added", "linked": "", "link": "changed target", "dir": "changed mode",
			"caps": "changed caps",
		} {
			if got := found[place+"/"+name]; got != want {
				t.Errorf("%s/%s: %q, want %q", place, name, got, want)
			}
		}
	}
}

// A reading that is told what is known says the very same as one that reads everything.
func TestAReadingWithTheIndexIsTheSameOnARealGuest(t *testing.T) {
	conn := installed(t)
	known := knownOfKept(t)
	first := read(t, conn, known)
	whole := read(t, conn, nil)
	last := read(t, conn, known)
	moving := map[string]bool{} // while nobody does anything
	for _, d := range drift.Compare(first.Facts, last.Facts) {
		moving[d.Key.Name] = true
	}
	if len(moving) > 20 {
		t.Errorf("%d facts of an idle guest move", len(moving))
	}
	steady := func(s fact.Set) []fact.Fact {
		return slices.DeleteFunc(s.OfKind(fact.KindFile), func(f fact.Fact) bool { return moving[f.Name] })
	}
	if diff := cmp.Diff(steady(whole.Facts), steady(last.Facts)); diff != "" {
		t.Errorf("the whole reading (-) and the one with the index (+):\n%s", diff[:min(len(diff), 4000)])
	}
}
