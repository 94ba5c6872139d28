package libvirt

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// frames is a network connection that puts packets into the order which the library needs. libvirt may send the first
// packets of a stream before the reply to the call that opened it. The library takes whatever comes first for the
// reply: then the picture is lost, and the packet too many blocks its reader for ever, with the lock held that the end
// of the call needs. Closing the connection does not help against that.
//
// A packet is its length (4 bytes, counting themselves), a header of six 4-byte numbers (program, version, procedure,
// type, serial, status) and a payload, all in network byte order.
type frames struct {
	net.Conn
	pending []byte            // what the library has not read yet
	replied map[uint32]bool   // the serials of calls whose reply has been passed on
	early   map[uint32][]byte // the packets of streams that are ahead of their reply, by serial
}

func newFrames(conn net.Conn) *frames {
	return &frames{Conn: conn, replied: map[uint32]bool{}, early: map[uint32][]byte{}}
}

// Dial gives the library the connection: it is made already.
func (f *frames) Dial() (net.Conn, error) { return f, nil }

// What frames needs to know of libvirt's protocol.
const (
	lengthSize = 4
	headSize   = lengthSize + 6*4
	typeReply  = 1
	typeStream = 3
	// maxPacket is libvirt's own bound (VIR_NET_MESSAGE_MAX), also for what is kept of a stream that is early.
	maxPacket = 32 << 20
)

// Read is called from one goroutine.
func (f *frames) Read(to []byte) (int, error) {
	for len(f.pending) == 0 {
		packet, err := readPacket(f.Conn)
		if err != nil {
			return 0, err
		}
		if f.pending, err = f.order(packet); err != nil {
			return 0, err
		}
	}
	n := copy(to, f.pending)
	f.pending = f.pending[n:]
	return n, nil
}

func readPacket(from io.Reader) ([]byte, error) {
	head := make([]byte, lengthSize)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head)
	if size < headSize || size > maxPacket {
		return nil, fmt.Errorf("libvirt sends a packet of %d bytes", size)
	}
	packet := make([]byte, size)
	copy(packet, head)
	_, err := io.ReadFull(from, packet[lengthSize:])
	return packet, err
}

// order returns what may be passed on now that a packet has come.
func (f *frames) order(packet []byte) ([]byte, error) {
	number := func(i int) uint32 { return binary.BigEndian.Uint32(packet[lengthSize+4*i:]) }
	kind, serial := number(3), number(4)
	switch {
	case kind == typeReply:
		f.replied[serial] = true
		packet = append(packet, f.early[serial]...)
		delete(f.early, serial)
		return packet, nil
	case kind == typeStream && !f.replied[serial]:
		f.early[serial] = append(f.early[serial], packet...)
		if len(f.early[serial]) > maxPacket {
			return nil, fmt.Errorf("libvirt sends %d bytes of a stream without having replied", len(f.early[serial]))
		}
		return nil, nil
	default:
		return packet, nil
	}
}
