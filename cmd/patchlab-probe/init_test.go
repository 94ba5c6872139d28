package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/probe/protocol"
)

func ask(t *testing.T, s *diskServer, arguments ...string) (code int, stdout, stderr string, err error) {
	t.Helper()
	var out, complaints bytes.Buffer
	code, err = s.do(t.Context(), arguments, &out, &complaints)
	return code, out.String(), complaints.String(), err
}

func TestAnOpenedDiskTellsWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	want := protocol.Opened{Root: "/dev/vda2", Mounted: []string{"/boot"}, Problems: []string{"/srv: it is not there"}}
	_, stdout, _, err := ask(t, &diskServer{opened: want}, protocol.AskOpened)
	var got protocol.Opened
	if err := errors.Join(err, json.Unmarshal([]byte(stdout), &got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestALineIsRunInTheOpenedSystem(t *testing.T) {
	t.Parallel()
	s := &diskServer{opened: protocol.Opened{Root: "/dev/vda1"}}
	code, stdout, stderr, err := ask(t, s, protocol.AskRun, "--timeout", "1m", `echo "$HOME -- 'two  words'"; echo wrong >&2; exit 7`)
	if code != 7 || stdout != "/root -- 'two  words'\n" || stderr != "wrong\n" || err != nil {
		t.Errorf("exit %d, stdout %q, stderr %q, %v", code, stdout, stderr, err)
	}
	code, stdout, stderr, err = ask(t, s, protocol.AskRun, "head -c 17000000 /dev/zero | tr '\\0' x")
	if code != 0 || len(stdout) != protocol.MaxOutput || !strings.HasSuffix(stderr, protocol.OutputCut+"\n") || err != nil {
		t.Errorf("a flood: exit %d, %d bytes, stderr %q, %v", code, len(stdout), stderr, err)
	}
	if code, _, _, err := ask(t, s, protocol.AskRun, "--timeout", "100ms", "sleep 600"); code != protocol.ExitDied || err == nil {
		t.Errorf("a line without end: exit %d, %v", code, err)
	}
}

func TestAHelperDoesWhatAHelperIsFor(t *testing.T) {
	t.Parallel()
	if code, _, _, err := ask(t, &diskServer{}, protocol.AskRun, "true"); code != protocol.ExitError || err == nil {
		t.Errorf("a line in no system: exit %d, %v", code, err)
	}
	for _, arguments := range [][]string{{protocol.AskRun}, {protocol.AskRun, "a", "b"}, {"clock", "--set", "5"}, {"init"}, {"settle"}} {
		if code, _, _, err := ask(t, &diskServer{}, arguments...); code != protocol.ExitUsage || !errors.Is(err, errUsage) {
			t.Errorf("%q: exit %d, %v", arguments, code, err)
		}
	}
	if err := runInit(context.Background(), nil); !errors.Is(err, errUsage) {
		t.Errorf("init as any process: %v", err)
	}
}
