package sshguest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest"
)

// Put writes a file under a temporary name beside its place, and renames it when it is complete.
func (c *Conn) Put(ctx context.Context, name string, mode fs.FileMode, content io.Reader) error {
	start := time.Now()
	written, err := c.put(ctx, name, mode, content)
	c.log.Add(start, "ok", fmt.Sprintf("put %s, %d bytes, mode %v", name, written, mode), err)
	return err
}

// Get reads a file.
func (c *Conn) Get(ctx context.Context, name string, to io.Writer) error {
	start := time.Now()
	read, err := c.get(ctx, name, to)
	c.log.Add(start, "ok", fmt.Sprintf("get %s, %d bytes", name, read), err)
	return err
}

func (c *Conn) put(ctx context.Context, name string, mode fs.FileMode, content io.Reader) (int64, error) {
	act := fmt.Sprintf("putting %q", name)
	source := &gate{reader: content}
	defer source.shut()
	t := transfer{name: name, temporary: temporaryName(name), mode: mode}
	written, err := inTime(ctx, func() (int64, error) {
		files, err := c.sftp(ctx)
		if err != nil {
			return 0, err
		}
		return t.put(files, source)
	}, func(int64) {})
	switch {
	case errors.Is(err, errNoSFTP):
		return c.putByShell(ctx, act, t, source)
	case err != nil && ctx.Err() == nil && source.err() != nil: // the content's fault, not the guest's
		return written, fmt.Errorf("%s: reading its content: %w", act, source.err())
	case err != nil:
		return written, c.fault(ctx, act, err)
	}
	return written, nil
}

func (c *Conn) get(ctx context.Context, name string, to io.Writer) (int64, error) {
	act := fmt.Sprintf("getting %q", name)
	sink := &gate{writer: to}
	defer sink.shut()
	read, err := inTime(ctx, func() (int64, error) {
		files, err := c.sftp(ctx)
		if err != nil {
			return 0, err
		}
		file, err := files.Open(name)
		if err != nil {
			return 0, err
		}
		defer func() { _ = file.Close() }()
		return file.WriteTo(sink)
	}, func(int64) {})
	switch {
	case errors.Is(err, errNoSFTP):
		counted := &counter{writer: to}
		err := c.getByShell(ctx, act, name, counted)
		return counted.passed.Load(), err
	case err != nil && ctx.Err() == nil && sink.err() != nil:
		return read, fmt.Errorf("%s: keeping its content: %w", act, sink.err())
	case err != nil:
		return read, c.fault(ctx, act, err)
	}
	return read, nil
}

// errNoSFTP means that the guest's sshd has no SFTP subsystem, so that files go through commands.
var errNoSFTP = errors.New("no sftp subsystem")

// sftp returns the connection's one SFTP client, which it makes at the first call.
func (c *Conn) sftp(ctx context.Context) (*sftp.Client, error) {
	if c.sudo {
		return nil, errNoSFTP // it would see files as the user that logged in
	}
	c.filesMu.Lock()
	defer c.filesMu.Unlock()
	if c.files != nil {
		return c.files, nil
	}
	session, err := newSession(ctx, c.client)
	if err != nil {
		return nil, err
	}
	files, err := openSFTP(session)
	if err != nil {
		_ = session.Close()
		return nil, err
	}
	c.files = files
	return files, nil
}

func openSFTP(session *ssh.Session) (*sftp.Client, error) {
	writer, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	reader, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	complaints, err := session.StderrPipe()
	if err != nil {
		return nil, err
	}
	go func() { _, _ = io.Copy(io.Discard, complaints) }()
	if err := session.RequestSubsystem("sftp"); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, errNoSFTP
	}
	files, err := sftp.NewClientPipe(reader, writer, sftp.UseConcurrentWrites(true))
	if err != nil { // the subsystem is configured, but its program is missing or dies
		return nil, errNoSFTP
	}
	return files, nil
}

// transfer is one file on its way into the guest.
type transfer struct {
	name, temporary string
	mode            fs.FileMode
}

func temporaryName(name string) string {
	return path.Join(path.Dir(name), ".patchlab-"+rand.Text()[:12])
}

func (t transfer) put(files *sftp.Client, content io.Reader) (written int64, err error) {
	file, err := t.create(files)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = files.Remove(t.temporary)
		}
	}()
	if err := file.Chmod(t.mode); err != nil { // before there is anything to read in it
		return 0, fmt.Errorf("setting its mode: %w", err)
	}
	const inFlight = 64 // requests of 32 KiB: enough for a guest that answers slowly
	if written, err = file.ReadFromWithConcurrency(content, inFlight); err != nil {
		return written, err
	}
	if err := file.Close(); err != nil {
		return written, err
	}
	if err := files.PosixRename(t.temporary, t.name); err != nil {
		return written, fmt.Errorf("renaming it into place: %w", err)
	}
	return written, nil
}

// create opens the temporary file, and makes the directories only when they turn out to be missing: asking first would cost
// every Put a round trip.
func (t transfer) create(files *sftp.Client) (*sftp.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	file, err := files.OpenFile(t.temporary, flags)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if err := files.MkdirAll(path.Dir(t.name)); err != nil {
		return nil, fmt.Errorf("making its directory: %w", err)
	}
	return files.OpenFile(t.temporary, flags)
}

// putByShell is put for a guest without SFTP, in two commands: the end of the first one's input does not mean that the
// content was complete. The trap is for a put that is cancelled, whose shell outlives the call.
func (c *Conn) putByShell(ctx context.Context, act string, t transfer, source *gate) (int64, error) {
	sent := &counter{reader: untilFault{source}}
	quoted := shellQuote(t.temporary)
	err := c.must(ctx, guest.Command{Stdin: sent, Line: "mkdir -p -- " + shellQuote(path.Dir(t.name)) + " && umask 077 && t=" + quoted +
		` && trap 'rm -f -- "$t"; exit 1' TERM HUP PIPE && cat >"$t"`})
	written := sent.passed.Load()
	if err == nil && source.err() != nil {
		err = fmt.Errorf("reading its content: %w", source.err())
	}
	if err == nil {
		err = c.must(ctx, guest.Command{Line: fmt.Sprintf("test $(wc -c <%s) -eq %d && chmod %o %s && mv -fT -- %s %s",
			quoted, written, unixMode(t.mode), quoted, quoted, shellQuote(t.name))})
	}
	if err != nil {
		c.removeBehind(ctx, t.temporary)
		return written, fmt.Errorf("%s: %w", act, err)
	}
	return written, nil
}

// must runs a command that has to exit with 0.
func (c *Conn) must(ctx context.Context, command guest.Command) error {
	result, err := c.run(ctx, command)
	if err != nil {
		return err
	}
	return result.Err(command)
}

// untilFault ends where its gate fails, so that the command that reads it ends as well and can be cleaned up behind.
type untilFault struct{ *gate }

// Read reads on, or says that this is the end.
func (u untilFault) Read(p []byte) (int, error) {
	n, err := u.gate.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// removeBehind takes away a half-written file, also when the call's own time is over.
func (c *Conn) removeBehind(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, _ = c.run(ctx, guest.Command{Line: "rm -f -- " + shellQuote(name)})
}

// getByShell is get for a guest without SFTP.
func (c *Conn) getByShell(ctx context.Context, act, name string, to io.Writer) error {
	const missing = 44 // an exit status that neither cat nor the shell uses
	command := guest.Command{Line: fmt.Sprintf("f=%s; test -e \"$f\" || exit %d; exec cat -- \"$f\"", shellQuote(name), missing), Stdout: to}
	result, err := c.run(ctx, command)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if result.ExitCode == missing {
		return fmt.Errorf("%s: %w", act, fs.ErrNotExist)
	}
	if err := result.Err(command); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
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

// counter counts what passes.
type counter struct {
	reader io.Reader
	writer io.Writer
	passed atomic.Int64
}

// Read reads on.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p)
	c.passed.Add(int64(n))
	return n, err
}

// Write writes on.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.writer.Write(p)
	c.passed.Add(int64(n))
	return n, err
}
