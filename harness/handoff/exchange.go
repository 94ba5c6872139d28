package handoff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"

	"github.com/patchlab/patchlab/harness/guest"
)

// exchange is what the client of a request reads from and writes to; each may be nil.
type exchange struct {
	input  io.Reader
	output io.Writer
	errors io.Writer
}

// localError is an error of the caller's own reader or writer, which says nothing about the guest.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// receive takes the server's frames until the reply.
func receive(socket net.Conn, from io.Reader, call exchange) (reply, error) {
	feeder := newFeeder(&frameWriter{to: socket}, call.input)
	defer feeder.stop()
	for {
		kind, payload, err := readFrame(from)
		if err != nil {
			return reply{}, err
		}
		switch kind {
		case frameNext:
			feeder.next()
		case frameOutput:
			err = keep(call.output, payload)
		case frameErrors:
			err = keep(call.errors, payload)
		case frameReply:
			var r reply
			if err := json.Unmarshal(payload, &r); err != nil {
				return reply{}, fmt.Errorf("reading the reply: %w", err)
			}
			return r, feeder.failure()
		default:
			err = fmt.Errorf("unknown frame %q", byte(kind))
		}
		if err != nil {
			return reply{}, err
		}
	}
}

// keep passes output on. What is collected in memory has been bounded by the other end, and is bounded here again.
func keep(to io.Writer, payload []byte) error {
	if to == nil {
		return nil
	}
	if collected, ok := to.(*bytes.Buffer); ok && collected.Len()+len(payload) > guest.MaxOutput {
		payload = payload[:max(0, guest.MaxOutput-collected.Len())]
	}
	if _, err := to.Write(payload); err != nil {
		return &localError{fmt.Errorf("writing output: %w", err)}
	}
	return nil
}

// feeder sends pieces of the input when the server asks for them. It reads in a goroutine of its own: a slow reader
// must not hold up the output.
type feeder struct {
	wanted chan struct{}
	failed chan error // the input's own error, at most one
}

func newFeeder(frames *frameWriter, input io.Reader) *feeder {
	f := &feeder{wanted: make(chan struct{}, 1), failed: make(chan error, 1)}
	go f.feed(frames, input)
	return f
}

func (f *feeder) feed(frames *frameWriter, input io.Reader) {
	piece := make([]byte, maxFrame)
	for range f.wanted {
		kind, payload := frameEnd, []byte(nil)
		if input != nil {
			n, err := readSome(input, piece)
			switch {
			case n > 0: // an error comes again with the next piece
				kind, payload = frameInput, piece[:n]
			case err != nil && err != io.EOF: //nolint:errorlint // io.Reader's contract is the very value
				f.failed <- err
				kind, payload = frameBroken, []byte(err.Error())
			}
		}
		if frames.send(kind, payload) != nil || kind == frameBroken {
			return // the server is gone, which receive notices as well
		}
	}
}

// readSome reads at least one byte unless the input is at its end or broken.
func readSome(input io.Reader, p []byte) (int, error) {
	for {
		if n, err := input.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// next notes that a piece is wanted. The server has at most one such wish at a time.
func (f *feeder) next() {
	select {
	case f.wanted <- struct{}{}:
	default:
	}
}

func (f *feeder) stop() { close(f.wanted) }

// failure returns the input's own error, as the caller knows it.
func (f *feeder) failure() error {
	select {
	case err := <-f.failed:
		return &localError{fmt.Errorf("reading input: %w", err)}
	default:
		return nil
	}
}
