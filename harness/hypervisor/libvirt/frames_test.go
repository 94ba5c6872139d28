package libvirt

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packet is one of libvirt's with a kind, a serial and a payload.
func packet(kind, serial uint32, payload string) []byte {
	raw := binary.BigEndian.AppendUint32(nil, uint32(headSize+len(payload)))
	for _, number := range []uint32{0x20008086, 1, 211, kind, serial, 2} {
		raw = binary.BigEndian.AppendUint32(raw, number)
	}
	return append(raw, payload...)
}

// through sends packets through frames and returns what the library would read.
func through(t *testing.T, packets ...[]byte) []byte {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		for _, p := range packets {
			if _, err := far.Write(p); err != nil {
				t.Errorf("sending: %v", err)
			}
		}
		if err := far.Close(); err != nil {
			t.Errorf("sending: %v", err)
		}
	}()
	got, err := io.ReadAll(newFrames(near))
	if err != nil {
		t.Errorf("reading: %v", err)
	}
	return got
}

func TestAStreamComesAfterTheReplyToItsCall(t *testing.T) {
	t.Parallel()
	reply, data, end := packet(typeReply, 3, "mime"), packet(typeStream, 3, "picture"), packet(typeStream, 3, "")
	event, other := packet(2, 0, "event"), packet(typeReply, 4, "other")
	want := bytes.Join([][]byte{event, other, reply, data, end}, nil)
	for name, order := range map[string][][]byte{
		"in order":                     {event, other, reply, data, end},
		"the first packet is early":    {data, event, other, reply, end},
		"the whole stream is early":    {data, end, event, other, reply},
		"others come between the two":  {data, event, end, other, reply},
		"the end alone comes after it": {event, data, other, reply, end},
	} {
		if diff := cmp.Diff(want, through(t, order...)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAPacketWithoutSenseEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, size := range []uint32{0, headSize - 1, maxPacket + 1} {
		near, far := net.Pipe()
		go func() { _, _ = far.Write(binary.BigEndian.AppendUint32(nil, size)) }()
		if n, err := newFrames(near).Read(make([]byte, 1)); err == nil {
			t.Errorf("a packet of %d bytes gave %d", size, n)
		}
	}
}
