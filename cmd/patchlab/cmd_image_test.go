package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/verdict"
)

// imageCommand runs a command line with an empty home and returns what it says.
func imageCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	home := t.TempDir()
	var out, complaints bytes.Buffer
	env := newEnvironment()
	env.Stdout, env.Stderr = &out, &complaints
	env.Getenv = func(name string) string {
		switch name {
		case "HOME":
			return home
		case "PATCHLAB_IMAGES_DIR":
			return home + "/images"
		default:
			return ""
		}
	}
	code = execute(t.Context(), env, args)
	return code, out.String(), complaints.String()
}

func TestImageListShowsWhatCouldBeBuilt(t *testing.T) {
	t.Parallel()
	code, out, stderr := imageCommand(t, "image", "list", "--output", "json")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	var rows []imageRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []imageRow{
		{Name: "debian-12-web", State: "not built", Release: "bookworm"}, {Name: "debian-13-web", State: "not built", Release: "trixie"},
	} {
		if !slices.Contains(rows, want) {
			t.Errorf("%+v is not among the images: %+v", want, rows)
		}
	}
	if _, table, _ := imageCommand(t, "image", "list"); !strings.Contains(table, "debian-12-web ") {
		t.Errorf("table lacks the image:\n%s", table)
	}
}

func TestImageBuildDryRunDoesNothing(t *testing.T) {
	t.Parallel()
	code, out, stderr := imageCommand(t, "image", "build", "debian-12-web", "--dry-run")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	for _, want := range []string{"Building debian-12-web would", "mmdebstrap", "that nginx, ssh, cron"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan lacks %q:\n%s", want, out)
		}
	}
}

func TestImageMistakesAreUsageErrorsWithTheRemedy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"image", "build", "debian-12-wbe"}, `did you mean "debian-12-web"?`},
		{[]string{"image", "build"}, "accepts 1 arg"},
		{[]string{"image", "show", "debian-12-web"}, "patchlab image build debian-12-web"},
		{[]string{"image", "rm", "debian-12-web"}, "patchlab image build debian-12-web"},
	} {
		code, _, stderr := imageCommand(t, test.args...)
		if code != verdict.ExitUsage || !strings.Contains(stderr, test.want) {
			t.Errorf("%v: exit %d, %q, want exit %d and %q", test.args, code, stderr, verdict.ExitUsage, test.want)
		}
	}
}

func TestImageCommandsAreDocumented(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"build", "list", "show", "rm", "import", "export"} {
		if code, out, stderr := imageCommand(t, "image", name, "--help"); code != 0 || !strings.Contains(out, "patchlab image "+name) {
			t.Errorf("help of %s: exit %d, %s", name, code, errors.New(stderr))
		}
	}
}
