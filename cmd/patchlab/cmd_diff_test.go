package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

func unitFact(name, active string) fact.Fact {
	return fact.Fact{Kind: fact.KindUnit, Name: name, Attributes: map[string]string{"active": active}}
}

// record makes a run directory with facts: the names of phases, in their order, and the state of nginx.
func (s *session) record(t *testing.T, id string, phases ...string) string {
	t.Helper()
	runs := filepath.Join(s.variables["HOME"], "runs")
	s.variables["PATCHLAB_RUNS_DIR"] = runs
	dir := filepath.Join(runs, id)
	if err := os.MkdirAll(filepath.Join(dir, rundir.Facts), 0o700); err != nil {
		t.Fatal(err)
	}
	s.put(t, filepath.Join(dir, rundir.Scenario), "schema: 1\n")
	for i, phase := range phases {
		name, state, _ := strings.Cut(phase, "=")
		set := fact.NewSet(unitFact("nginx.service", state), unitFact("tmp.timer", name),
			fact.Fact{Kind: fact.KindPort, Name: "tcp/*:22"})
		content, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, rundir.Facts, name+".json")
		s.put(t, path, string(content))
		at := time.Unix(int64(1000+i), 0)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (s *session) put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestARunIsNamedByItsIDItsBeginningItsPathOrAsTheLast(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.record(t, "20261122-100000-aaaaaa", "baseline=active")
	old := s.record(t, "20261121-100000-bbbbbb", "baseline=failed")
	for name, want := range map[string]string{
		"last": "active", "20261122": "active", "20261121-100000-bbbbbb": "failed", "20261121": "failed", old: "failed",
	} {
		s.stdout.Reset()
		if code := s.run("facts", name, "--kind", "unit"); code != 0 || !strings.Contains(s.stdout.String(), "active="+want) {
			t.Errorf("%s exits with %d: %s%s", name, code, s.stdout.String(), s.stderr.String())
		}
	}
	for name, want := range map[string]string{"2026": "beginning of 2 runs", "1999": `no run "1999"`, "": "no run"} {
		s.stderr.Reset()
		if code := s.run("facts", name); code != verdict.ExitUsage || !strings.Contains(s.stderr.String(), want) {
			t.Errorf("%q exits with %d: %s", name, code, s.stderr.String())
		}
	}
}

func TestARunIsComparedWithItsBaseline(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.record(t, "r1", "baseline=active", "control=active", "reboot-clean=failed", "apply-nginx=reloading")
	// reboot-clean is older by its name, younger by its time.
	for args, want := range map[string]string{
		"diff r1 --phase reboot-clean": "active active                            | failed",
		"diff r1":                      "active active                            | reloading",
		"diff r1 r1 --phase control":   "No difference between r1 control and r1 control.",
	} {
		s.stdout.Reset()
		if code := s.run(strings.Fields(args)...); code != 0 || !strings.Contains(s.stdout.String(), want) {
			t.Errorf("%s exits with %d:\n%s%s", args, code, s.stdout.String(), s.stderr.String())
		}
	}
	s.stdout.Reset()
	s.run("diff", "r1", "--phase", "control", "--output", "json")
	var got compared
	if err := json.Unmarshal(s.stdout.Bytes(), &got); err != nil || len(got.Drifts) != 0 || got.Volatile != 1 || got.Is != "control" {
		t.Errorf("what the control showed is told: %+v, %v", got, err)
	}
	s.stdout.Reset()
	s.run("diff", "r1", "--phase", "control", "--all")
	if !strings.Contains(s.stdout.String(), "tmp.timer (volatile)") {
		t.Errorf("--all leaves out what moves without a patch:\n%s", s.stdout.String())
	}
}

func TestFactsSurviveAFileAndAreCleaned(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.record(t, "r1", "baseline=active", "apply-x=failed")
	s.run("facts", "r1", "--phase", "baseline", "--output", "json")
	file := filepath.Join(s.variables["HOME"], "web.json")
	s.put(t, file, strings.ReplaceAll(s.stdout.String(), "tcp/*:22", `tcp/*:22\u001b[2J`))
	s.stdout.Reset()
	if code := s.run("diff", file, "r1"); code != 0 {
		t.Fatalf("it exits with %d: %s", code, s.stderr.String())
	}
	if got := s.stdout.String(); strings.Contains(got, "\x1b") || !strings.Contains(got, `tcp/*:22\x1b[2J`) || !strings.Contains(got, "| failed") {
		t.Errorf("the difference is\n%s", got)
	}
}

func TestWhatCannotBeReadIsAUsageError(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.record(t, "r1", "baseline=active")
	s.record(t, "r0")
	broken := filepath.Join(s.variables["HOME"], "broken.json")
	s.put(t, broken, `{"facts": 5}`)
	for args, want := range map[string]string{
		"facts r1 --phase reboot":          `no phase "reboot" (have baseline)`,
		"facts r0":                         "has recorded no facts",
		"facts r1 --kind prot":             `unknown kind "prot" (have address, file,`,
		"facts r1 --phase now":             "has kept no guest: keep one with `patchlab run --keep`",
		"facts root@ ":                     "names no host",
		"facts root@web1 --phase baseline": "--phase goes with a run",
		"diff root@web1":                   "name a second machine",
		"diff " + broken + " r1":           "holds no facts",
		"shell r1":                         "has kept no guest",
	} {
		s.stderr.Reset()
		if code := s.run(strings.Fields(args)...); code != verdict.ExitUsage || !strings.Contains(s.stderr.String(), want) {
			t.Errorf("%s exits with %d: %s", args, code, s.stderr.String())
		}
	}
}

func TestRunsAndPhasesAreCompleted(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.record(t, "r1", "baseline=active", "apply-x=failed")
	s.put(t, filepath.Join(s.record(t, "r2"), rundir.Kept), "{}")
	for args, want := range map[string]string{
		"__complete facts ":              "r2\thas no result\nr1\thas no result\n",
		"__complete shell ":              "r2\thas no result\n:",
		"__complete diff r1 --phase ":    "baseline\napply-x\n",
		"__complete facts r1 --kind po":  "port\n",
		"__complete diff r1 ":            "r2\t",
		"__complete run --output table ": "openssl-nginx\n",
		"__complete run --image ":        "debian-12-web\t",
		"__complete explain PL1":         "PL103\t",
		"__complete image build debian":  "debian-12-web",
	} {
		s.stdout.Reset()
		s.run(strings.Split(args, " ")...)
		if !strings.Contains(s.stdout.String(), want) {
			t.Errorf("%s offers\n%s", args, s.stdout.String())
		}
	}
}

func fileFact(name, digest string) fact.Fact {
	return fact.Fact{Kind: fact.KindFile, Name: name, Attributes: map[string]string{"type": "file", "sha256": digest}}
}

func TestDiffComparesTheFilesThatBothSidesHaveRead(t *testing.T) {
	t.Parallel()
	root := fact.Fact{Kind: fact.KindFile, Name: "/", Attributes: map[string]string{"type": "dir"}}
	system := []fact.Fact{root, fileFact("/usr/bin/ls", "1"), fileFact("/etc/motd", "1"), fileFact("/var/log/syslog", "1")}
	for name, test := range map[string]struct {
		other []fact.Fact
		want  []string
	}{
		"a machine whose /etc alone was read": {[]fact.Fact{fileFact("/etc/motd", "2")}, []string{"/etc/motd"}},
		"the whole of both, without data": {
			[]fact.Fact{root, fileFact("/usr/bin/ls", "2"), fileFact("/etc/motd", "1"), fileFact("/var/log/syslog", "2")}, []string{"/usr/bin/ls"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			var paths []string
			for i, facts := range [][]fact.Fact{system, test.other} {
				content, err := json.Marshal(fact.NewSet(facts...))
				if err != nil {
					t.Fatal(err)
				}
				paths = append(paths, filepath.Join(s.variables["HOME"], string(rune('a'+i))+".json"))
				s.put(t, paths[i], string(content))
			}
			code := s.run("diff", paths[0], paths[1], "--output", "json")
			var result compared
			if err := json.Unmarshal(s.stdout.Bytes(), &result); code != 0 || err != nil {
				t.Fatalf("exit %d, %v: %s", code, err, s.stderr.String())
			}
			var got []string
			for _, d := range result.Drifts {
				got = append(got, d.Key.Name)
			}
			if strings.Join(got, " ") != strings.Join(test.want, " ") {
				t.Errorf("differing are %v, want %v", got, test.want)
			}
		})
	}
}
