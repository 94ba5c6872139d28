package embedded_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/patchlab/patchlab/harness/probe/embedded"
)

// Whether a probe was built before the tests run is not for them to say: either is right, nothing else is.
func TestThereIsAProgramOrAnErrorThatSaysWhatToDo(t *testing.T) {
	program, err := embedded.Probe()
	switch {
	case err == nil && !bytes.HasPrefix(program, []byte("\x7fELF")):
		t.Errorf("the probe is no program: it starts with %q", program[:min(4, len(program))])
	case err != nil && !errors.Is(err, embedded.ErrMissing):
		t.Error(err)
	}
}
