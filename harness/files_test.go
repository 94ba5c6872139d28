package harness_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

// env is the only file of the lab's guests.
var env = fact.Fact{Kind: fact.KindFile, Name: "/usr/bin/env", Attributes: map[string]string{
	"type": "file", "sha256": "e", "package": "coreutils:amd64",
}}

// filesOf makes what is known of some files.
func filesOf(t *testing.T, facts ...fact.Fact) *probe.Files {
	t.Helper()
	stored := map[string]any{"version": protocol.Version, "facts": facts}
	var prints []protocol.Print
	for _, f := range facts {
		prints = append(prints, printOf(f))
	}
	stored["prints"] = prints
	files := &probe.Files{}
	if err := json.Unmarshal([]byte(render(stored)), files); err != nil {
		t.Fatal(err)
	}
	return files
}

func TestAFileThatThePatchChangedIsToldThoughTheOthersAreKnown(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*server){
		"another content": func(s *server) {
			s.put("file", "/usr/bin/env", "type", "file", "sha256", "x", "package", "coreutils:amd64")
		},
		"gone": func(s *server) { s.drop("/usr/bin/env") },
	} {
		for _, warm := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, warm %v", name, warm), func(t *testing.T) {
				l := newLab(t)
				if warm {
					l = newWarmLab(t)
				}
				l.onApply["openssl"] = func(s *server) {
					s.put("package", "libssl3:amd64", "version", "2", "status", "installed")
					change(s)
				}
				result := l.run(scripted("openssl"))
				if len(result.Findings) != 1 || result.Findings[0].ID != "PL304" || result.Findings[0].Subject.Name != "/usr/bin/env" {
					t.Errorf("findings are %+v", result.Findings)
				}
			})
		}
	}
}

func TestTheFilesOfAnImageAreReadOnceOnTheHost(t *testing.T) {
	t.Parallel()
	l := newWarmLab(t)
	times := 0
	l.diskFiles = func(_ context.Context, _ image.Image, scratch string) (*probe.Files, error) {
		times++
		return filesOf(t, env), os.WriteFile(scratch, []byte("a raw disk"), 0o600)
	}
	for range 2 {
		if result := l.run(scripted("openssl")); result.Outcome != verdict.Pass || result.Clones.Start != "warm" {
			t.Errorf("%s, %+v", result.Outcome, result.Clones)
		}
	}
	if times != 1 {
		t.Errorf("it was read %d times", times)
	}
	for _, s := range l.servers {
		for _, command := range s.guest.Commands() {
			if subcommand("facts")(command) && !strings.Contains(command.Line, " --index ") && !strings.Contains(command.Line, " --only ") {
				t.Errorf("%s is read as if nothing were known of it: %s", s.spec.Name, command.Line)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(harness.FilesCache(filepath.Join(l.dir, "cache")), "*.new"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestARunReadsNothingOfAnImageWhoseFilesAreKnownSinceItWasMade(t *testing.T) {
	t.Parallel()
	l := newWarmLab(t)
	times := 0
	l.diskFiles = func(context.Context, image.Image, string) (*probe.Files, error) {
		times++
		return filesOf(t, env), nil
	}
	for range 2 {
		if err := l.knowFiles(); err != nil {
			t.Fatal(err)
		}
	}
	if result := l.run(scripted("openssl")); result.Outcome != verdict.Pass || times != 1 {
		t.Errorf("%s, and the image was read %d times", result.Outcome, times)
	}
}

// knowFiles does what whoever has made the lab's image does.
func (l *lab) knowFiles() error {
	made := l.lab()
	of, release, err := made.Image(l.t.Context(), "debian-12-web")
	if err != nil {
		return err
	}
	return errors.Join(made.KnowFiles(l.t.Context(), of, progress.Discard{}), release())
}

func TestADiskThatCannotBeReadIsToldWhenItsImageIsMade(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	lvm := errors.New("the root is on LVM")
	l.diskFiles = func(_ context.Context, _ image.Image, scratch string) (*probe.Files, error) {
		return nil, errors.Join(lvm, os.WriteFile(scratch, []byte("half"), 0o600))
	}
	if err := l.knowFiles(); !errors.Is(err, lvm) {
		t.Errorf("it says %v", err)
	}
	left, err := filepath.Glob(filepath.Join(harness.FilesCache(l.lab().CacheDir), "*[^k]")) // all but locks
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWhatTheHostCannotReadTheGuestTells(t *testing.T) {
	t.Parallel()
	l := newWarmLab(t)
	l.warm = false
	l.diskFiles = func(context.Context, image.Image, string) (*probe.Files, error) {
		return nil, errors.New("the root is on LVM")
	}
	first, second := l.run(scripted("openssl")), l.run(scripted("openssl"))
	if first.Outcome != verdict.Pass || second.Outcome != verdict.Pass {
		t.Errorf("%s, then %s", first.Outcome, second.Outcome)
	}
	events, err := os.ReadFile(filepath.Join(first.RunDir, rundir.Events))
	if err != nil || !strings.Contains(string(events), "the root is on LVM") {
		t.Errorf("nobody is told why (%v)", err)
	}
}
