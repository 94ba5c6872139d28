package libvirt

import (
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

func TestTheSecondEndOfAStreamIsDropped(t *testing.T) {
	t.Parallel()
	const reply = 1
	mime, data, end := packet(reply, 3, "mime"), packet(streamType, 3, "picture"), packet(streamType, 3, "")
	other, next := packet(streamType, 4, ""), packet(reply, 5, "")
	var want []byte
	for _, p := range [][]byte{mime, data, end, other, next} {
		want = append(want, p...)
	}
	if diff := cmp.Diff(want, through(t, mime, data, end, end, other, next)); diff != "" {
		t.Error(diff)
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
