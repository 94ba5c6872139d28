package image

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/wait"
)

const (
	buildsDir   = ".build"
	logsDir     = ".log"
	exchangeDir = "private/exchange"
	scratchDir  = "private/scratch"
)

// workshop is the directory in which one image comes into being:
//
//	.build/NAME.lock     held while a build of NAME lives, so that what lies in .build/NAME then is its own
//	.build/NAME/         a run directory: its lock tells gc that the build's domains are alive
//	  private/exchange/  what the root directory's hooks read and write; nobody else gets past private/
//	  private/scratch/   where mmdebstrap makes the root directory
//	  disk.qcow2 vmlinuz initrd.img console.log
type workshop struct {
	path string
	run  *rundir.Dir
	lock *os.File
}

// workshopOrder says what a workshop is for.
type workshopOrder struct {
	name    string
	waiting func()                      // called once if another build of the name lives
	clear   func(context.Context) error // takes a dead build's domain away, before its files
}

// openWorkshop waits until no other build of the name lives, removes what a dead one left and makes an empty workshop.
func (s *Store) openWorkshop(ctx context.Context, order workshopOrder) (w *workshop, err error) {
	builds := filepath.Join(s.Dir, buildsDir)
	if err := os.MkdirAll(builds, 0o711); err != nil {
		return nil, fmt.Errorf("making the image directory: %w", err)
	}
	lock, err := lockBuild(ctx, filepath.Join(builds, order.name+".lock"), order.waiting)
	if err != nil {
		return nil, fmt.Errorf("waiting for the other build of %s: %w", order.name, err)
	}
	w = &workshop{path: filepath.Join(builds, order.name), lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close(context.WithoutCancel(ctx)))
		}
	}()
	if err := order.clear(ctx); err != nil {
		return w, err
	}
	if err := removeDead(ctx, w.path); err != nil {
		return w, err
	}
	return w, w.furnish()
}

func (w *workshop) furnish() (err error) {
	if err := os.Mkdir(w.path, 0o711); err != nil {
		return fmt.Errorf("making the build directory: %w", err)
	}
	if w.run, err = rundir.Lock(w.path); err != nil {
		return err
	}
	for _, directory := range []string{exchangeDir, scratchDir} {
		if err := os.MkdirAll(w.file(directory), 0o700); err != nil {
			return fmt.Errorf("making the build directory: %w", err)
		}
	}
	return nil
}

func (w *workshop) file(name string) string { return filepath.Join(w.path, name) }

func (w *workshop) exchange(name string) string { return filepath.Join(w.path, exchangeDir, name) }

// close removes the workshop and everything in it.
func (w *workshop) close(ctx context.Context) error {
	var err error
	if w.run != nil {
		err = w.run.Close()
	}
	err = errors.Join(err, removeDead(ctx, w.path))
	return errors.Join(err, w.lock.Close())
}

// lockBuild takes a build lock. The file stays: to delete a lock file is to let two in.
func lockBuild(ctx context.Context, path string, waiting func()) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	said := false
	const interval = 200 * time.Millisecond
	err = wait.Until(ctx, "its lock", interval, func(context.Context) (bool, error) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err == nil, err
		}
		if !said {
			waiting()
			said = true
		}
		return false, nil
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// removeDead deletes a workshop in which nobody works any more. Of an ordinary user's build, some files belong to his
// subordinate users: only the root of a namespace like the build's may delete them.
func removeDead(ctx context.Context, path string) error {
	err := os.RemoveAll(path)
	if errors.Is(err, fs.ErrPermission) {
		var output bytes.Buffer
		if err = (tool{name: "unshare", arguments: confine(true, "rm", "-rf", "--", path), log: &output}).run(ctx); err == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("removing a dead build: %w", err)
	}
	return nil
}

// Sweep removes what dead builds left in the store and returns their names. Their domains are found by gc.
func (s *Store) Sweep(ctx context.Context) ([]string, error) {
	var swept []string
	builds := filepath.Join(s.Dir, buildsDir)
	names, err := subdirectories(builds)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		lock, err := os.OpenFile(filepath.Join(builds, name+".lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return swept, fmt.Errorf("looking for dead builds: %w", err)
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			if err := removeDead(ctx, filepath.Join(builds, name)); err != nil {
				return swept, errors.Join(err, lock.Close())
			}
			swept = append(swept, name)
		}
		if err := lock.Close(); err != nil {
			return swept, fmt.Errorf("looking for dead builds: %w", err)
		}
	}
	return swept, nil
}

// newUUID is a random one (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, crypto/rand says
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
