package patch_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/scenario"
)

// aptGuest runs what is to be downloaded by this host's shell, with an apt-get of ours.
type aptGuest struct {
	dir    string
	stager patch.Stager
}

// fakeAPT trusts a list by any key if there is a file otherkey, has an archive whose state the file archive tells, and cannot fetch
// what a list of another state names. It logs its calls.
const fakeAPT = `#!/bin/sh
cd "$(dirname "$APT_CONFIG")"
case "$*" in
*update*)
	echo update >>"$GUEST/log"
	if grep -q signed-by sources.list && [ -e "$GUEST/otherkey" ]; then echo "E: The repository is not signed."; exit 100; fi
	if [ -e "$GUEST/down" ]; then echo "E: Failed to fetch the lists"; exit 100; fi
	cp "$GUEST/archive" lists/state
	if [ -e "$GUEST/large" ]; then head -c 9000000 /dev/zero >lists/large; fi;;
*--download-only*)
	echo "download $(cat lists/state)" >>"$GUEST/log"
	cmp -s lists/state "$GUEST/archive" || { echo "E: Failed to fetch an old one"; exit 100; }
	[ ! -e "$GUEST/unmet" ] || { echo "E: Unmet dependencies"; exit 100; }
	: >"archives/openssl_$(cat lists/state)_amd64.deb";;
esac
`

func newAPTGuest(t *testing.T) *aptGuest {
	t.Helper()
	g := &aptGuest{dir: t.TempDir()}
	g.put(t, "archive", "1")
	g.put(t, "bin/apt-get", fakeAPT)
	if err := os.Chmod(filepath.Join(g.dir, "bin/apt-get"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := guesttest.NewScript()
	script.OnPrefix(downloading, func(ctx context.Context, command guest.Command) guest.Result {
		for _, name := range []string{"apt.conf", "sources.list"} {
			at := "/var/cache/patchlab/openssl/" + name
			g.put(t, at, content(t, script, at))
		}
		line := strings.ReplaceAll(command.Line, "/var/cache/patchlab", g.dir+"/var/cache/patchlab")
		shell := exec.CommandContext(ctx, "/bin/sh", "-c", line)
		shell.Env = append(os.Environ(), "GUEST="+g.dir, "PATH="+g.dir+"/bin:"+os.Getenv("PATH"))
		stdout, err := shell.Output()
		result := guest.Result{Stdout: stdout, ExitCode: shell.ProcessState.ExitCode()}
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Errorf("running %s: %v", line, err)
		}
		return result
	})
	script.OnPrefix("rm -rf -- ", guesttest.Says(""))
	g.stager = stager(t, script)
	g.stager.Lists = filepath.Join(g.dir, "run/lists")
	if err := os.Mkdir(filepath.Join(g.dir, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *aptGuest) put(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stage downloads an increment as the run does, which takes away what was staged afterwards, and returns what APT was called for.
func (g *aptGuest) stage(t *testing.T) (staged, calls []string, err error) {
	t.Helper()
	g.put(t, "log", "")
	job, err := g.stager.Stage(t.Context(), scenario.Increment{Name: "openssl", APT: &security})
	if err := os.RemoveAll(filepath.Join(g.dir, "var")); err != nil {
		t.Fatal(err)
	}
	log, readErr := os.ReadFile(filepath.Join(g.dir, "log"))
	if readErr != nil {
		t.Fatal(readErr)
	}
	return job.Staged, strings.Split(strings.TrimSpace(string(log)), "\n"), err
}

func TestTheListsOfARunAreFetchedOnce(t *testing.T) {
	g := newAPTGuest(t)
	for i, want := range [][]string{{"update", "download 1"}, {"download 1"}, {"download 1"}} {
		staged, calls, err := g.stage(t)
		if err != nil || !cmp.Equal(staged, []string{"openssl_1_amd64.deb"}) {
			t.Fatalf("staged %v, error %v", staged, err)
		}
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Errorf("APT was called the %d. time (-want +got):\n%s", i+1, diff)
		}
	}
}

func TestListsThatDoNotServeAreFetchedAnew(t *testing.T) {
	g := newAPTGuest(t)
	if _, _, err := g.stage(t); err != nil {
		t.Fatal(err)
	}
	g.put(t, "archive", "2")
	staged, calls, err := g.stage(t)
	if err != nil || !cmp.Equal(staged, []string{"openssl_2_amd64.deb"}) {
		t.Fatalf("staged %v, error %v", staged, err)
	}
	if diff := cmp.Diff([]string{"download 1", "update", "download 2"}, calls); diff != "" {
		t.Errorf("APT was called (-want +got):\n%s", diff)
	}
	if _, calls, err = g.stage(t); err != nil || !cmp.Equal(calls, []string{"download 2"}) {
		t.Errorf("then APT was called %v, error %v", calls, err)
	}
}

func TestWhatIsRefusedWithKeptListsIsRefusedWithNewOnes(t *testing.T) {
	g := newAPTGuest(t)
	if _, _, err := g.stage(t); err != nil {
		t.Fatal(err)
	}
	g.put(t, "unmet", "")
	_, calls, err := g.stage(t)
	if refused := (*patch.RefusedError)(nil); !errors.As(err, &refused) || strings.Count(refused.Output, "Unmet") != 1 {
		t.Errorf("error %v, want one refusal", err)
	}
	// With the lists of the increment's suite, and then with those of the release beside.
	if diff := cmp.Diff([]string{"download 1", "update", "download 1", "update", "download 1"}, calls); diff != "" {
		t.Errorf("APT was called (-want +got):\n%s", diff)
	}
}

func TestLargeListsAreNotKeptInMemory(t *testing.T) {
	g := newAPTGuest(t)
	g.put(t, "large", "")
	for range 2 {
		if _, calls, err := g.stage(t); err != nil || !cmp.Equal(calls, []string{"update", "download 1"}) {
			t.Errorf("APT was called %v, error %v", calls, err)
		}
		if left, _ := os.ReadDir(filepath.Join(g.dir, "run")); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	}
}

func TestAnArchiveThatIsTrustedByAnotherKeyIsTrusted(t *testing.T) {
	g := newAPTGuest(t)
	g.put(t, "otherkey", "")
	staged, calls, err := g.stage(t)
	if err != nil || len(staged) != 1 {
		t.Fatalf("staged %v, error %v", staged, err)
	}
	if diff := cmp.Diff([]string{"update", "update", "download 1"}, calls); diff != "" {
		t.Errorf("APT was called (-want +got):\n%s", diff)
	}
}

func TestListsThatDoNotComeAreTheLabsFaultAndAskedForOnce(t *testing.T) {
	g := newAPTGuest(t)
	g.put(t, "down", "")
	_, calls, err := g.stage(t)
	if unfetched := (*patch.FetchError)(nil); !errors.As(err, &unfetched) || !cmp.Equal(calls, []string{"update"}) {
		t.Errorf("error %v after %v, want that they could not be fetched", err, calls)
	}
}

func TestARefusalIsNotTakenForWhatKeptListsCouldNotFetch(t *testing.T) {
	g := newAPTGuest(t)
	if _, _, err := g.stage(t); err != nil {
		t.Fatal(err)
	}
	g.put(t, "archive", "2")
	g.put(t, "unmet", "")
	_, _, err := g.stage(t)
	if refused := (*patch.RefusedError)(nil); !errors.As(err, &refused) {
		t.Errorf("error %v, want a refusal", err)
	}
}
