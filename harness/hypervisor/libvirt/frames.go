package libvirt

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// frames is a network connection that drops packets at which the library would hang for ever: libvirt announces the end
// of a stream by an empty packet, and now and then by two. The library stops listening after the first; the second
// then blocks its reader while that holds the lock which the end of the call needs. Closing the connection does not help.
//
// A packet is its length (4 bytes, counting themselves), a header of six 4-byte numbers (program, version, procedure,
// type, serial, status) and a payload, all in network byte order.
type frames struct {
	net.Conn
	pending []byte          // of a packet that the library has read in part
	ended   map[uint32]bool // the serials of streams whose end it has seen
}

func newFrames(conn net.Conn) *frames { return &frames{Conn: conn, ended: map[uint32]bool{}} }

// Dial gives the library the connection: it is made already.
func (f *frames) Dial() (net.Conn, error) { return f, nil }

const (
	lengthSize = 4
	headSize   = lengthSize + 6*4
	// maxPacket is libvirt's own bound (VIR_NET_MESSAGE_MAX).
	maxPacket  = 32 << 20
	streamType = 3
)

// Read returns the packets that the library can bear. It is called from one goroutine.
func (f *frames) Read(to []byte) (int, error) {
	for len(f.pending) == 0 {
		packet, err := readPacket(f.Conn)
		if err != nil {
			return 0, err
		}
		if f.wanted(packet) {
			f.pending = packet
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

func (f *frames) wanted(packet []byte) bool {
	number := func(i int) uint32 { return binary.BigEndian.Uint32(packet[lengthSize+4*i:]) }
	kind, serial := number(3), number(4)
	if kind != streamType {
		return true
	}
	if f.ended[serial] {
		return false
	}
	if len(packet) == headSize {
		f.ended[serial] = true
	}
	return true
}
