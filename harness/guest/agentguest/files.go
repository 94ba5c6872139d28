package agentguest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"time"
)

// Put writes a file under a temporary name beside its place, and renames it when it is complete.
func (c *Conn) Put(ctx context.Context, name string, mode fs.FileMode, content io.Reader) error {
	start := time.Now()
	written, err := c.put(ctx, name, mode, content)
	c.log.Add(start, "ok", fmt.Sprintf("agent: put %s, %d bytes, mode %v", name, written, mode), err)
	return err
}

// Get reads a file.
func (c *Conn) Get(ctx context.Context, name string, to io.Writer) error {
	start := time.Now()
	read, err := c.get(ctx, name, to)
	c.log.Add(start, "ok", fmt.Sprintf("agent: get %s, %d bytes", name, read), err)
	return err
}

func (c *Conn) put(ctx context.Context, name string, mode fs.FileMode, content io.Reader) (int64, error) {
	act := fmt.Sprintf("putting %q over the guest agent", name)
	if err := c.ready(ctx, act); err != nil {
		return 0, err
	}
	temporary := path.Join(path.Dir(name), ".patchlab-"+rand.Text()[:12])
	// The agent would make a file that everybody may write to: it is made before, for nobody else.
	err := c.must(ctx, `mkdir -p -- "$1" && umask 077 && set -C && : >"$2"`, path.Dir(name), temporary)
	if err != nil {
		return 0, c.fault(ctx, act, err)
	}
	written, err := c.upload(ctx, temporary, content)
	if err == nil {
		err = c.must(ctx, `test $(wc -c <"$2") -eq "$3" && chmod "$4" "$2" && mv -fT -- "$2" "$1"`, name, temporary,
			strconv.FormatInt(written, 10), fmt.Sprintf("%o", unixMode(mode)))
	}
	if err != nil {
		c.removeBehind(ctx, temporary)
		return written, c.fault(ctx, act, err)
	}
	return written, nil
}

// removeBehind takes away a half-written file, also when the call's own time is over.
func (c *Conn) removeBehind(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWait)
	defer cancel()
	if c.ready(ctx, "") == nil {
		_ = c.must(ctx, `rm -f -- "$1"`, name)
	}
}

// upload writes an existing file.
func (c *Conn) upload(ctx context.Context, name string, content io.Reader) (written int64, err error) {
	handle, err := c.agent.open(ctx, name, "w")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.release(ctx, handle)) }()
	buffer := make([]byte, chunk)
	for {
		n, err := readFull(ctx, content, buffer)
		if err != nil {
			return written, fmt.Errorf("reading its content: %w", err)
		}
		if n == 0 {
			return written, nil
		}
		if err := c.agent.write(ctx, handle, buffer[:n]); err != nil {
			return written, err
		}
		written += int64(n)
	}
}

// release gives a handle back, also when the call's own time is over: the agent keeps them for ever.
func (c *Conn) release(ctx context.Context, handle int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWait)
	defer cancel()
	return c.agent.closeFile(ctx, handle)
}

func (c *Conn) get(ctx context.Context, name string, to io.Writer) (int64, error) {
	act := fmt.Sprintf("getting %q over the guest agent", name)
	if err := c.ready(ctx, act); err != nil {
		return 0, err
	}
	read, err := c.download(ctx, name, to, -1)
	if isRefusal(err) && read == 0 && c.isMissing(ctx, name) {
		return 0, fmt.Errorf("%s: %w", act, fs.ErrNotExist)
	}
	if err != nil {
		return read, c.fault(ctx, act, err)
	}
	return read, nil
}

// isMissing asks again: the agent says why it cannot open a file in the guest's language only.
func (c *Conn) isMissing(ctx context.Context, name string) bool {
	s, err := c.perform(ctx, script(`test -e "$1" || test -L "$1" || exit 44`, name), nil)
	return err == nil && s.code == 44 // an exit status that the shell does not use
}

// download reads a file. With a size of zero or more it is an error to find more than that in it.
func (c *Conn) download(ctx context.Context, name string, to io.Writer, size int64) (read int64, err error) {
	handle, err := c.agent.open(ctx, name, "r")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.release(ctx, handle)) }()
	for {
		content, end, err := c.agent.read(ctx, handle, chunk)
		if err != nil {
			return read, err
		}
		if size >= 0 && read+int64(len(content)) > size {
			return read, fmt.Errorf("%w: more than %d bytes", ErrAnswer, size)
		}
		n, err := to.Write(content)
		read += int64(n)
		if err != nil {
			return read, fmt.Errorf("keeping its content: %w", err)
		}
		if end {
			return read, nil
		}
	}
}

// unixMode is a mode as chmod(1) takes it.
func unixMode(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&bit != 0 {
			bits |= value
		}
	}
	return bits
}

// readFull fills a buffer from a reader that may block for ever, until ctx ends. Fewer bytes mean the reader's end. After the
// end of ctx one read may go on behind the caller's back.
func readFull(ctx context.Context, from io.Reader, buffer []byte) (int, error) {
	type outcome struct {
		n   int
		err error
	}
	done := make(chan outcome, 1)
	own := make([]byte, len(buffer)) // what a late read still fills is not the caller's any more
	go func() {
		n := 0
		var err error
		for n < len(own) && err == nil {
			var more int
			more, err = from.Read(own[n:])
			n += more
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		done <- outcome{n, err}
	}()
	select {
	case o := <-done:
		copy(buffer, own[:o.n])
		return o.n, o.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}
