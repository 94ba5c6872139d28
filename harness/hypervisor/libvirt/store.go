package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pkg/sftp"

	"github.com/patchlab/patchlab/harness/hypervisor/remote"
)

// store keeps on another machine what domains only read, under the digest of its content: each image goes over the network
// once.
type store struct {
	host *remote.Host
	dir  string
	tell func(string) // what takes long; may be nil

	mu      sync.Mutex // one upload at a time
	digests map[identity]string
}

// identity of a file's content, as long as nobody writes to it on purpose.
type identity struct {
	device, inode uint64
	size          int64
	modified      time.Time
}

// put uploads a file if it is not there yet, and returns its path there. An upload that was cut short is gone on with.
func (s *store) put(ctx context.Context, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest, size, err := s.digest(ctx, name)
	if err != nil {
		return "", err
	}
	client, err := s.host.Files(ctx)
	if err != nil {
		return "", err
	}
	target := path.Join(s.dir, digest+filepath.Ext(name)) // AppArmor goes by the ending
	if info, err := client.Stat(target); err == nil && info.Size() == size {
		return target, nil
	}
	if err := s.room(client, size); err != nil {
		return "", err
	}
	// Whoever else uploads it at the same time writes the same bytes to the same places.
	part := target + ".part"
	if err := s.upload(ctx, client, name, part, size); err != nil {
		return "", err
	}
	script := fmt.Sprintf("cd %s && echo %s | sha256sum -c --quiet - && chmod 644 %[3]s && mv -f %[3]s %[4]s",
		remote.Quote(s.dir), remote.Quote(digest+"  "+path.Base(part)), remote.Quote(path.Base(part)), remote.Quote(path.Base(target)))
	if _, err := s.host.Shell(ctx, script); err != nil {
		if _, there := client.Stat(target); there == nil {
			return target, nil // somebody else was faster
		}
		if ctx.Err() == nil {
			_ = client.Remove(part) // it is of no use
		}
		return "", fmt.Errorf("checking %s after the upload: %w", name, err)
	}
	return target, nil
}

// digest reads the whole file once per process.
func (s *store) digest(ctx context.Context, name string) (digest string, size int64, err error) {
	act := "reading " + name + " for its digest"
	file, err := os.Open(name)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", act, err)
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", act, err)
	}
	key := identity{size: info.Size(), modified: info.ModTime()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		key.device, key.inode = stat.Dev, stat.Ino
	}
	if digest, ok := s.digests[key]; ok {
		return digest, info.Size(), nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, readUntil{ctx, file}); err != nil {
		return "", 0, fmt.Errorf("%s: %w", act, err)
	}
	s.digests[key] = hex.EncodeToString(hash.Sum(nil))
	return s.digests[key], info.Size(), nil
}

// readUntil reads until a context ends.
type readUntil struct {
	ctx context.Context //nolint:containedctx // it lives as long as one call
	io.Reader
}

func (r readUntil) Read(to []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(to)
}

// spare is what is left free beside an upload, for overlays.
const spare = 1 << 30

// room refuses an upload that would fill the disk. A server that cannot tell is taken at its word.
func (s *store) room(client *sftp.Client, size int64) error {
	stat, err := client.StatVFS(s.dir)
	if err != nil {
		return nil //nolint:nilerr // an extension of OpenSSH
	}
	free := stat.Bavail * stat.Frsize
	if need := uint64(size) + spare; free < need {
		return fmt.Errorf("only %d MiB are free in %s on %s, and the image with its overlays needs %d: make room there, or name "+
			"another place with ?dir=PATH in the URI", free>>20, s.dir, s.host.Name(), need>>20)
	}
	return nil
}

// chunk is what is written at a time, its packets in any order: what comes before the last chunk of a file that was cut
// short is whole.
const chunk = 16 << 20

// tellEvery is how often a long upload says how far it is.
const tellEvery = 10 * time.Second

func (s *store) upload(ctx context.Context, client *sftp.Client, from, to string, size int64) (err error) {
	act := fmt.Sprintf("uploading %s to %s", from, s.host.Name())
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	defer func() { _ = source.Close() }() // only read
	target, err := client.OpenFile(to, os.O_CREATE|os.O_WRONLY)
	if err != nil {
		return fmt.Errorf("%s: creating %s: %w", act, to, err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	begin := int64(0)
	if info, err := target.Stat(); err == nil && info.Size() > 0 && info.Size() <= size {
		begin = (info.Size() - 1) / chunk * chunk
	}
	told := time.Now()
	for at := begin; at < size; at += chunk {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", act, context.Cause(ctx))
		}
		if _, err := target.Seek(at, io.SeekStart); err != nil {
			return fmt.Errorf("%s: %w", act, err)
		}
		if _, err := target.ReadFrom(io.NewSectionReader(source, at, chunk)); err != nil {
			return fmt.Errorf("%s: %w", act, err)
		}
		if s.tell != nil && (time.Since(told) >= tellEvery || at == begin && size > 4*chunk) {
			told = time.Now()
			s.tell(fmt.Sprintf("%s: %d of %d MiB", act, min(at+chunk, size)>>20, size>>20))
		}
	}
	return nil
}

// copy uploads a file that one domain has for itself.
func (s *store) copy(ctx context.Context, here, there string) error {
	client, err := s.host.Files(ctx)
	if err != nil {
		return err
	}
	info, err := os.Stat(here)
	if err != nil {
		return fmt.Errorf("uploading: %w", err)
	}
	if err := s.upload(ctx, client, here, there, info.Size()); err != nil {
		return err
	}
	if err := client.Chmod(there, 0o644); err != nil {
		return fmt.Errorf("uploading %s: %w", here, err)
	}
	return nil
}

// fetch brings a file back that a guest has written to. One that is gone there is left alone here.
func (s *store) fetch(ctx context.Context, there, here string) (err error) {
	act := fmt.Sprintf("fetching %s from %s", here, s.host.Name())
	client, err := s.host.Files(ctx)
	if err != nil {
		return err
	}
	source, err := client.Open(there)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil && strings.Contains(err.Error(), "permission denied") {
		return fmt.Errorf("%s: it belongs to the user that QEMU runs as there: %w", act, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	defer func() { _ = source.Close() }() // only read
	temporary := here + ".new"
	target, err := os.Create(temporary)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	_, err = io.Copy(target, readUntil{ctx, source})
	if err = errors.Join(err, target.Close()); err == nil {
		err = os.Rename(temporary, here)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", act, err), os.Remove(temporary))
	}
	return nil
}
