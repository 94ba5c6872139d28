package collect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/probe/systemd"
)

// Limits of what is read into memory.
const (
	maxProcFile = 16 << 20
	maxDatabase = 64 << 20 // a package database of a desktop with everything is a tenth
	maxSmall    = 1 << 20
)

// errTooBig is returned for a file beyond the limit of its kind.
var errTooBig = errors.New("too big to be read")

// Manager is the init system.
type Manager interface {
	// Units returns the loaded units whose names match one of the patterns.
	Units(ctx context.Context, patterns ...string) ([]systemd.Unit, error)
	// Result returns how a unit last ended: success, exit-code, timeout, ... or "" for types that have no result.
	Result(ctx context.Context, unit string) (string, error)
}

// Source is the guest as the collectors see it. What several of them need is read once. It is for one goroutine.
type Source struct {
	root    string
	pid     int
	manager Manager
	scratch []byte

	command  func(ctx context.Context, name string, arguments ...string) ([]byte, error)
	check    func(ctx context.Context, name string, arguments ...string) (output string, exit int, err error)
	database *packageRead
	accounts func() (*accountDB, error)
	table    func() (*processTable, error)
	disk     folder // the root of a disk that is off, read instead of root; nil in a guest
	wanted   FilesWanted
	walked   *fileWalk // the whole system's files, once they are read
}

// Want says which files are wanted. Without it all are, and none is known.
func (s *Source) Want(files FilesWanted) { s.wanted = files }

// NewSource reads below root, "/" in a guest. manager may be nil where systemd does not run. pid is the probe's own: it and
// the login that runs it are left out of the facts.
func NewSource(root string, manager Manager, pid int) *Source {
	s := &Source{root: root, manager: manager, pid: pid, scratch: make([]byte, 64<<10), command: runCommand, check: runCheck}
	s.accounts = sync.OnceValues(func() (*accountDB, error) { return readAccounts(s) })
	s.table = sync.OnceValues(func() (*processTable, error) { return readProcesses(s) })
	return s
}

// packageRead is the package database as it was read, with its error.
type packageRead struct {
	db  *packageDB
	err error
}

func (s *Source) packages(ctx context.Context) (*packageDB, error) {
	if s.database == nil {
		db, err := readPackages(ctx, s)
		s.database = &packageRead{db, err}
	}
	return s.database.db, s.database.err
}

// BootID returns the kernel's id of this boot, "" if there is none to read.
func BootID(s *Source) string {
	id, err := s.read("/proc/sys/kernel/random/boot_id", 64)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

func (s *Source) path(p string) string {
	if s.root == "/" {
		return p
	}
	return filepath.Join(s.root, p)
}

// read returns a file's content, up to a limit beyond which it is an error. It makes only the system calls that are needed:
// under emulation each costs tens of microseconds, and there are thousands. Nor does it ask for more than it may get: for a setting
// below /proc/sys the kernel makes as much room, and clears it, before it looks what there is to tell (proc_sys_call_handler).
func (s *Source) read(path string, limit int) ([]byte, error) {
	if s.disk != nil {
		return readDisk(s.disk, path, limit)
	}
	// O_NONBLOCK: opening a fifo or a device must not wait for somebody.
	fd, err := unix.Open(s.path(path), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	n := 0
	for {
		if n == len(s.scratch) {
			s.scratch = append(s.scratch, make([]byte, len(s.scratch))...)
		}
		got, err := unix.Read(fd, s.scratch[n:min(len(s.scratch), limit+1)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		case got == 0:
			return bytes.Clone(s.scratch[:n]), nil
		}
		if n += got; n > limit {
			return nil, fmt.Errorf("reading %s: %w: more than %d bytes", path, errTooBig, limit)
		}
	}
}

func (s *Source) readLink(path string) (string, error) {
	if s.disk != nil {
		return s.disk.target(strings.TrimPrefix(path, "/"))
	}
	return os.Readlink(s.path(path))
}

func (s *Source) readDir(path string) ([]os.DirEntry, error) {
	return os.ReadDir(s.path(path))
}

func (s *Source) exists(path string) bool {
	return unix.Access(s.path(path), unix.F_OK) == nil
}
