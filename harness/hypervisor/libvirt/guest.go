package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor/remote"
	"github.com/patchlab/patchlab/harness/wait"
)

// guest is a running guest of another machine: its console is copied here, and its port is reached through here.
type guest struct {
	host *remote.Host

	mu        sync.Mutex
	following func() // ends the copying; nil while nothing is copied
	listener  net.Listener
	target    string // the port's address there
}

// consoleInterval is how far the copy of a console may be behind, but for the time on the way.
const consoleInterval = 300 * time.Millisecond

// follow copies the console as it grows. A hiccup of the connection is made up for later.
func (g *guest) follow(mark metadata) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.following != nil || mark.Console == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		source := tail{host: g.host, mark: mark}
		_ = wait.Until(ctx, "the guest's end", consoleInterval, func(ctx context.Context) (bool, error) {
			_ = source.catchUp(ctx) // the last one, at the guest's end, tells
			return false, nil
		})
	}()
	g.following = func() {
		cancel()
		<-ended
	}
}

// forward opens a port here that leads to the guest's there. It stays until the guest's end.
func (g *guest) forward(ctx context.Context, target string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target = target // another one when the guest was turned on anew, unseen
	if g.listener != nil {
		return g.listener.Addr().String(), nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("opening a port that leads to the guest: %w", err)
	}
	g.listener = listener
	go g.serve(context.WithoutCancel(ctx), listener)
	return listener.Addr().String(), nil
}

func (g *guest) serve(ctx context.Context, listener net.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		near, err := listener.Accept()
		if err != nil {
			return // closed
		}
		go g.join(ctx, near)
	}
}

// join leads one connection to the guest. Who made it sees the end when it does not work.
func (g *guest) join(ctx context.Context, near net.Conn) {
	g.mu.Lock()
	target := g.target
	g.mu.Unlock()
	far, err := g.host.Dial(ctx, "tcp", target)
	if err != nil {
		_ = near.Close() // nothing was sent
		return
	}
	remote.Join(near, far)
}

// end gives up copying and the port.
func (g *guest) end() {
	g.mu.Lock()
	following, listener := g.following, g.listener
	g.following, g.listener = nil, nil
	g.mu.Unlock()
	if listener != nil {
		_ = listener.Close() // only connections are lost, and the guest is off
	}
	if following != nil {
		following()
	}
}

// tail copies a console. What was copied is told by the size of the copy: it may go on after a pause, and in another
// process. Two that copy at a time write the same to the same place.
type tail struct {
	host  *remote.Host
	mark  metadata
	moved int64 // how much a file had that was put aside (virtlogd does at 2 MiB)
}

// catchUp copies what is new. It returns nil for a console that is gone: so is its domain.
func (t *tail) catchUp(ctx context.Context) (err error) {
	if t.mark.Console == "" {
		return nil
	}
	act := "copying the console of " + path.Base(t.mark.Home)
	files, err := t.host.Files(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	source, err := files.Open(path.Join(t.mark.Home, consoleFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	defer func() { _ = source.Close() }() // only read
	copied, err := os.OpenFile(t.mark.Console, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the evidence was thrown away
	}
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	if err := t.append(copied, source); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}

type statReader interface {
	io.ReaderAt
	Stat() (fs.FileInfo, error)
}

func (t *tail) append(copied *os.File, source statReader) error {
	here, err := copied.Stat()
	if err != nil {
		return err
	}
	there, err := source.Stat()
	if err != nil {
		return err
	}
	done := here.Size() - t.mark.ConsoleBase - t.moved
	if there.Size() < done {
		t.moved, done = t.moved+done, 0
	}
	if there.Size() <= done {
		return nil
	}
	_, err = io.Copy(io.NewOffsetWriter(copied, here.Size()), io.NewSectionReader(source, done, there.Size()-done))
	return err
}
