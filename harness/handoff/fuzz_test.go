package handoff

import (
	"bufio"
	"bytes"
	"net"
	"testing"

	"github.com/patchlab/patchlab/harness/guest"
)

// FuzzRequest reads what a suite's process asks for.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"run","line":"true","input":true}` + "\n"))
	f.Add([]byte(`{"op":"put","path":"/x","mode":420}` + "\nn\x00\x00\x00\x00"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		from := bufio.NewReader(bytes.NewReader(data))
		if _, err := readRequest(from); err != nil {
			return
		}
		for {
			if _, _, err := readFrame(from); err != nil {
				return
			}
		}
	})
}

// FuzzReply reads frames as the suite's process gets them: whatever they say, the call ends, and its output is bounded.
func FuzzReply(f *testing.F) {
	f.Add([]byte("o\x00\x00\x00\x02okr\x00\x00\x00\x02{}"))
	f.Add([]byte("n\x00\x00\x00\x00x\xff\xff\xff\xff"))
	f.Add([]byte("r\x00\x00\x00\x18" + `{"error":"x","code":"y"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		here, there := net.Pipe()
		go func() { // what the client answers goes nowhere
			piece := make([]byte, maxFrame)
			for {
				if _, err := there.Read(piece); err != nil {
					return
				}
			}
		}()
		defer func() { _, _ = here.Close(), there.Close() }()
		var output bytes.Buffer
		r, err := receive(here, bytes.NewReader(data), exchange{output: &output, input: bytes.NewReader([]byte("input"))})
		if err == nil && output.Len() > guest.MaxOutput {
			t.Errorf("%d bytes of output are kept", output.Len())
		}
		if r.Error == "" && r.err() != nil {
			t.Errorf("an error out of nothing: %v", r.err())
		}
	})
}
