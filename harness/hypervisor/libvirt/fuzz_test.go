package libvirt

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
)

// FuzzFrames puts a stream of packets in order: none may get lost or come twice, and its end is the stream's.
func FuzzFrames(f *testing.F) {
	packet := func(kind, serial byte) []byte {
		p := make([]byte, headSize+1)
		p[3], p[lengthSize+15], p[lengthSize+19] = headSize+1, kind, serial
		return p
	}
	f.Add(append(packet(typeStream, 1), packet(typeReply, 1)...))
	f.Add(append(packet(typeReply, 1), packet(typeStream, 2)...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) >= lengthSize && binary.BigEndian.Uint32(stream) > 1<<20 {
			return // the bound is tested elsewhere; allocating up to it only costs time
		}
		ordered, err := io.ReadAll(newFrames(readOnly{from: bytes.NewReader(stream)}))
		if len(ordered) > len(stream) {
			t.Errorf("%d bytes came out of %d (%v)", len(ordered), len(stream), err)
		}
	})
}

// readOnly is the reading half of a connection.
type readOnly struct {
	net.Conn
	from io.Reader
}

func (r readOnly) Read(p []byte) (int, error) { return r.from.Read(p) }
