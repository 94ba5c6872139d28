package sshguest

import (
	"bytes"
	"testing"
)

// FuzzAnnounced cuts the announcement out of an output that comes in any pieces: nothing after it is lost or changed.
func FuzzAnnounced(f *testing.F) {
	f.Add([]byte("Welcome!\n"+announcement+"123\noutput\n"), 3)
	f.Add([]byte(announcement+"-1\n"+announcement+"x\n"), 1)
	f.Add([]byte("no shell"), 100)
	f.Fuzz(func(t *testing.T, output []byte, size int) {
		var kept bytes.Buffer
		a := announced{to: &kept, known: make(chan struct{})}
		size = max(1, size)
		for rest := output; len(rest) > 0; {
			piece := rest[:min(size, len(rest))]
			if n, err := a.Write(piece); n != len(piece) || err != nil {
				t.Fatalf("took %d of %d: %v", n, len(piece), err)
			}
			rest = rest[len(piece):]
		}
		a.flush()
		if !bytes.HasSuffix(output, kept.Bytes()) {
			t.Errorf("%q became %q", output, kept.Bytes())
		}
		if group := a.group(t.Context()); group == 1 || group < 0 {
			t.Errorf("group %d would be killed", group)
		}
	})
}
