package patch_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/scenario"
)

// FuzzAPT reads APT's and dpkg's outputs: whatever they say, it is one of the ends that staging has.
func FuzzAPT(f *testing.F) {
	f.Add(0, "openssl (3.0.20 => 3.0.22)\n\n@archives\nlibssl3_3.0.22_amd64.deb\npartial\n", "openssl 3.0.20, ")
	f.Add(0, "\n@archives\n", "")
	f.Add(100, "E: Unable to locate package nosuch\n", "\x1b[31m\xff")
	f.Fuzz(func(t *testing.T, code int, output, installed string) {
		script := guesttest.NewScript()
		script.OnPrefix(downloading, guesttest.Exits(code, output, ""))
		script.OnPrefix("dpkg-query", guesttest.Says(installed))
		conn, err := script.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stager := patch.Stager{Conn: conn, Conffiles: scenario.ConffilesKeep, Release: "bookworm", Proxy: "127.0.0.1:40000"}
		job, err := stager.Stage(t.Context(), scenario.Increment{Name: "openssl", APT: &security})
		var refused *patch.RefusedError
		var unfetched *patch.FetchError
		var wrong *patch.ScenarioError
		var nothing *patch.NothingError
		switch {
		case errors.Is(err, guest.ErrLost):
			t.Errorf("an answer is taken for a lost connection: %v", err)
		case err != nil && !errors.As(err, &refused) && !errors.As(err, &unfetched) && !errors.As(err, &wrong) && !errors.As(err, &nothing):
			t.Errorf("a guest's answer became the lab's error: %v", err)
		case err == nil && slices.ContainsFunc(job.Staged, func(name string) bool { return !strings.HasSuffix(name, ".deb") }):
			t.Errorf("staged are %q", job.Staged)
		}
	})
}
