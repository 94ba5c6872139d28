package handoff

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/patchlab/patchlab/harness/guest"
)

// maxRequests bounds how many requests are served at a time. A suite asks a handful of questions at once.
const maxRequests = 64

// Serve serves the guest on the listener until ctx ends, then closes the listener, ends all requests and returns nil.
// The guest's connection stays open.
func Serve(ctx context.Context, listener net.Listener, conn guest.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	var requests sync.WaitGroup
	defer requests.Wait()
	defer cancel() // before the wait: requests end by it
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	defer func() { _ = listener.Close() }() // may be closed already

	slots := make(chan struct{}, maxRequests)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		client, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("serving the guest to the suites: %w", err)
		}
		requests.Go(func() {
			defer func() { <-slots }()
			serveOne(ctx, client, conn)
		})
	}
}

// serveOne serves one connection. What goes wrong on the socket is for the client to notice.
func serveOne(ctx context.Context, client net.Conn, conn guest.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	defer func() { _ = client.Close() }()

	from := bufio.NewReader(client)
	req, err := readRequest(from)
	out := &frameWriter{to: client}
	if err != nil {
		_ = out.reply(reply{Error: err.Error()})
		return
	}
	if req.Op == opDial {
		serveDial(ctx, cancel, req, from, client, conn, out)
		return
	}
	in := &inputReader{frames: out, pieces: make(chan piece, 1), gone: make(chan struct{})}
	go func() {
		in.receive(from) // until the client is gone
		cancel()
	}()
	r := serve(ctx, req, conn, in, out)
	if ctx.Err() != nil && r.Error != "" {
		r.Code = codeLost // the end of serving broke it off: that says nothing about the guest
	}
	_ = out.reply(r)
}

func readRequest(from *bufio.Reader) (request, error) {
	var line []byte
	for {
		part, err := from.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxHeader {
			return request{}, fmt.Errorf("reading a request: longer than %d bytes", maxHeader)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return request{}, fmt.Errorf("reading a request: %w", err)
		}
	}
	var req request
	if err := json.Unmarshal(line, &req); err != nil {
		return request{}, fmt.Errorf("reading a request: %w", err)
	}
	return req, nil
}

// serve does what was asked, and returns what is sent last.
func serve(ctx context.Context, req request, conn guest.Conn, in io.Reader, out *frameWriter) reply {
	var r reply
	switch req.Op {
	case opRun:
		command := guest.Command{Line: req.Line, User: req.User}
		if req.Input {
			command.Stdin = in
		}
		if req.Stream {
			command.Stdout = out.stream(frameOutput)
		}
		result, err := conn.Run(ctx, command)
		if err == nil {
			_, err = out.stream(frameOutput).Write(result.Stdout)
		}
		if err == nil {
			_, err = out.stream(frameErrors).Write(result.Stderr)
		}
		r.ExitCode, r.Truncated = result.ExitCode, result.Truncated
		r.setError(err)
	case opPut:
		r.setError(conn.Put(ctx, req.Path, req.Mode, in))
	case opGet:
		r.setError(conn.Get(ctx, req.Path, out.stream(frameOutput)))
	default:
		r.Error = fmt.Sprintf("unknown request %q", req.Op)
	}
	return r
}

// inputReader reads what the client sends, one piece for each time it is asked.
type inputReader struct {
	frames *frameWriter
	pieces chan piece
	gone   chan struct{} // closed when the client is
	rest   []byte
	err    error
}

type piece struct {
	data []byte
	err  error
}

// receive takes frames from the client until it is gone. The client sends one for each that was asked for, so the
// channel never blocks; a client that sends more is cut off.
func (r *inputReader) receive(from io.Reader) {
	defer close(r.gone)
	for {
		kind, payload, err := readFrame(from)
		if err != nil {
			return
		}
		p := piece{data: payload}
		switch kind {
		case frameInput:
		case frameEnd:
			p = piece{err: io.EOF}
		case frameBroken:
			p = piece{err: errors.New(string(payload))}
		default:
			return
		}
		select {
		case r.pieces <- p:
		default:
			return
		}
	}
}

func (r *inputReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if err := r.frames.send(frameNext, nil); err != nil {
			return 0, fmt.Errorf("asking for input: %w", err)
		}
		select {
		case next := <-r.pieces:
			r.rest, r.err = next.data, next.err
		case <-r.gone:
			return 0, errors.New("reading input: the suite is gone")
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
