package protocol_test

import (
	"testing"

	"github.com/patchlab/patchlab/harness/probe/protocol"
)

func TestAnIndexIsReadAsItWasWritten(t *testing.T) {
	index := protocol.NewIndex([]protocol.Print{9, 0, 1, 9, 1 << 63})
	read, err := protocol.ParseIndex(index.Bytes())
	if err != nil || read.Len() != 3 {
		t.Fatalf("%d prints, %v", read.Len(), err)
	}
	for position, p := range []protocol.Print{1, 9, 1 << 63} {
		if at, found := read.Find(p); !found || at != position || read.At(position) != p {
			t.Errorf("print %d is at %d, %v", p, at, found)
		}
	}
	if _, found := read.Find(0); found {
		t.Error("the print of what must be read is in the index")
	}
	seen := protocol.NewSeen(read)
	protocol.SetSeen(seen, 2)
	if !protocol.IsSeen(seen, 2) || protocol.IsSeen(seen, 1) || protocol.IsSeen(seen, 100) {
		t.Errorf("bits are %b", seen)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(protocol.NewIndex([]protocol.Print{1, 2}).Bytes())
	f.Add([]byte("plfiles1"))
	f.Add([]byte("plfiles1\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		index, err := protocol.ParseIndex(content)
		if err != nil {
			return
		}
		for i := range index.Len() {
			if at, found := index.Find(index.At(i)); !found || at != i {
				t.Errorf("position %d is not found", i)
			}
		}
	})
}
