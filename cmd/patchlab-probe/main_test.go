package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/probe/protocol"
)

func TestWrongArgumentsAreToldAndDoNothing(t *testing.T) {
	for _, arguments := range [][]string{
		nil,
		{"frobnicate"},
		{"facts", "--no-such"},
		{"facts", "extra"},
		{"settle", "--timeout", "soon"},
		{"job"},
		{"job", "run"},
		{"job", "run", "../../etc"},
		{"job", "stop", "a"},
		{"job", "run", "a", "--offset", "x"},
	} {
		var stdout, stderr bytes.Buffer
		code, err := run(t.Context(), arguments, &stdout, &stderr)
		if code != protocol.ExitUsage || !errors.Is(err, errUsage) || stdout.Len() > 0 || !strings.Contains(stderr.String(), "usage:") {
			t.Errorf("%q: exit %d, %v, stdout %q", arguments, code, err, stdout.String())
		}
	}
}

func TestAJobThatIsNotThereIsAnErrorOfTheProbe(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code, err := run(t.Context(), []string{"job", "run", "no-such-job"}, &stdout, &stderr)
	if code != protocol.ExitError || err == nil {
		t.Errorf("exit %d, %v; want %d", code, err, protocol.ExitError)
	}
}
