package probe

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/guest"
)

// thisMachine runs commands here, with a PATH of its own in front and a directory for temporary files.
type thisMachine struct{ path, tmp string }

func (m thisMachine) Run(ctx context.Context, command guest.Command) (guest.Result, error) {
	c := exec.CommandContext(ctx, "/bin/sh", "-c", command.Line)
	c.Env = []string{"PATH=" + m.path + ":" + os.Getenv("PATH"), "TMPDIR=" + m.tmp, "HOME=" + m.tmp}
	c.Stdin = command.Stdin
	var stderr strings.Builder
	c.Stderr = &stderr
	stdout, err := c.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return guest.Result{ExitCode: exit.ExitCode(), Stdout: stdout, Stderr: []byte(stderr.String())}, nil
	}
	return guest.Result{Stdout: stdout}, err
}

// machine makes one whose user is root or not, and whose sudo lets that user do so or not.
func machine(t *testing.T, uid string, sudo string) thisMachine {
	t.Helper()
	m := thisMachine{path: t.TempDir(), tmp: t.TempDir()}
	for name, script := range map[string]string{
		"id": "echo " + uid, "sudo": sudo, "uname": "echo x86_64",
	} {
		if err := os.WriteFile(filepath.Join(m.path, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

var script = newBuild([]byte(`#!/bin/sh
test "$1" = facts && echo '{"probe":"1","boot_id":"b","facts":[{"kind":"unit","name":"a.service"}],"notes":[{"kind":"file","error":"'$AS'"}]}'
`))

func TestALookLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		uid, sudo    string
		unprivileged bool
		as           string
	}{
		"as root":                   {"0", "exit 9", false, ""},
		"by sudo":                   {"1000", `export AS=sudo; shift; exec "$@"`, false, "sudo"},
		"without sudo, if so asked": {"1000", "exit 9", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machine(t, test.uid, test.sudo)
			doc, err := script.look(t.Context(), m, test.unprivileged, LookEtc)
			if err != nil {
				t.Fatal(err)
			}
			if doc.Facts.Len() != 1 || doc.Notes[0].Error != test.as {
				t.Errorf("read %+v", doc)
			}
			m.isEmpty(t)
		})
	}
}

func (m thisMachine) isEmpty(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(m.tmp); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind (%v)", left, err)
	}
}

func TestALookSaysWhatStandsInItsWay(t *testing.T) {
	t.Parallel()
	m := machine(t, "1000", "echo sudo: a password is required >&2; exit 1")
	if _, err := script.look(t.Context(), m, false, LookEtc); !errors.Is(err, ErrSudo) || !strings.Contains(err.Error(), "a password is required") {
		t.Errorf("a sudo that refuses gives %v", err)
	}
	m.isEmpty(t)
	m = machine(t, "0", "")
	if err := os.WriteFile(filepath.Join(m.path, "uname"), []byte("#!/bin/sh\necho aarch64\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := script.look(t.Context(), m, false, LookEtc); !errors.Is(err, ErrMachine) || !strings.Contains(err.Error(), "aarch64") {
		t.Errorf("another machine gives %v", err)
	}
	broken := newBuild([]byte("#!/bin/sh\necho no kernel >&2; exit 5\n"))
	m = machine(t, "0", "")
	if _, err := broken.look(t.Context(), m, false, LookEtc); err == nil || !strings.Contains(err.Error(), "exited with 5: no kernel") {
		t.Errorf("a probe that fails gives %v", err)
	}
	m.isEmpty(t)
	liar := newBuild([]byte("#!/bin/sh\necho not json\n"))
	if _, err := liar.look(t.Context(), m, false, LookEtc); !errors.Is(err, ErrAnswer) {
		t.Errorf("an answer that is none gives %v", err)
	}
}

func TestAllFilesOfAMachineAreReadBehindItsOtherWork(t *testing.T) {
	t.Parallel()
	asked := newBuild([]byte("#!/bin/sh\n" + `test "$1" = facts && echo '{"probe":"'$3' '$(nice)'","boot_id":"b","facts":[{"kind":"unit","name":"a"}]}'` + "\n"))
	for files, want := range map[LookFiles]string{LookEtc: "etc", LookSystem: "system 19"} {
		m := machine(t, "1000", `shift; exec "$@"`)
		if doc, err := asked.look(t.Context(), m, false, files); err != nil || !strings.HasPrefix(doc.Probe, want) {
			t.Errorf("%s: %q, %v, want %q at the beginning", files, doc.Probe, err, want)
		}
		m.isEmpty(t)
	}
}
