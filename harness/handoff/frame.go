package handoff

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/patchlab/patchlab/harness/guest"
)

// frameKind is the first byte of a frame.
type frameKind byte

const (
	frameNext   frameKind = 'n' // server: send me the next piece of input
	frameInput  frameKind = 'i' // client: a piece of input
	frameEnd    frameKind = 'e' // client: the input is at its end
	frameBroken frameKind = 'x' // client: reading the input has failed; the payload says how
	frameOutput frameKind = 'o' // server: standard output, or a file's content
	frameErrors frameKind = 's' // server: standard error
	frameReply  frameKind = 'r' // server: the reply, as JSON; the last frame
)

const (
	maxFrame  = 64 << 10 // one piece; larger ones save no time on a local socket
	maxHeader = 1 << 20  // the request line: command lines may be long
	// maxMessage bounds an error's text, which may quote a guest.
	maxMessage = 16 << 10
)

type operation string

const (
	opRun  operation = "run"
	opPut  operation = "put"
	opGet  operation = "get"
	opDial operation = "dial"
)

// request is the first line of a connection.
type request struct {
	Op      operation   `json:"op"`
	Line    string      `json:"line,omitempty"`
	User    string      `json:"user,omitempty"`
	Input   bool        `json:"input,omitempty"`  // the command has a standard input
	Stream  bool        `json:"stream,omitempty"` // standard output is wanted as it comes
	Path    string      `json:"path,omitempty"`
	Mode    fs.FileMode `json:"mode,omitempty"`
	Network string      `json:"network,omitempty"`
	Address string      `json:"address,omitempty"`
}

// reply is the last frame of the server.
type reply struct {
	ExitCode  int    `json:"exit_code,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
	Error     string `json:"error,omitempty"`
	Code      string `json:"code,omitempty"` // which of the errors in sentinels it wraps
}

// codeLost is the code of [guest.ErrLost].
const codeLost = "lost"

// sentinels are the errors that callers decide by, and that must survive the socket.
func sentinels() map[string]error {
	return map[string]error{
		codeLost: guest.ErrLost, "not-exist": fs.ErrNotExist, "permission": fs.ErrPermission, "exist": fs.ErrExist,
	}
}

func (r *reply) setError(err error) {
	if err == nil {
		return
	}
	r.Error = err.Error()
	r.Error = r.Error[:min(len(r.Error), maxMessage)]
	for code, sentinel := range sentinels() {
		if errors.Is(err, sentinel) {
			r.Code = code
		}
	}
}

func (r *reply) err() error {
	if r.Error == "" {
		return nil
	}
	return &remoteError{message: r.Error, wrapped: sentinels()[r.Code]}
}

// remoteError is an error that happened at the other end of the socket.
type remoteError struct {
	message string
	wrapped error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.wrapped }

// frameWriter writes frames from several goroutines.
type frameWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *frameWriter) send(kind frameKind, payload []byte) error {
	frame := make([]byte, 5, 5+len(payload))
	frame[0] = byte(kind)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.to.Write(append(frame, payload...))
	return err
}

// reply sends the last frame.
func (w *frameWriter) reply(r reply) error {
	payload, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return w.send(frameReply, payload)
}

// stream returns a writer whose bytes are sent as frames of one kind.
func (w *frameWriter) stream(kind frameKind) io.Writer { return streamWriter{w, kind} }

type streamWriter struct {
	frames *frameWriter
	kind   frameKind
}

func (s streamWriter) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); sent += maxFrame {
		if err := s.frames.send(s.kind, p[sent:min(sent+maxFrame, len(p))]); err != nil {
			return sent, err
		}
	}
	return len(p), nil
}

// readFrame reads one frame. A frame longer than a reply can be is refused before it is read.
func readFrame(from io.Reader) (frameKind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxHeader {
		return 0, nil, fmt.Errorf("frame of %d bytes, at most %d are allowed", size, maxHeader)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(from, payload); err != nil {
		return 0, nil, fmt.Errorf("in the middle of a frame: %w", err)
	}
	return frameKind(head[0]), payload, nil
}
