package collect

import (
	"crypto/md5" //nolint:gosec // dpkg's digests of conffiles are MD5; this compares, it does not protect.
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"

	"golang.org/x/sys/unix"
)

// A folder is an open directory of the file system that is read. What is in it is reached from it by name, and never through a
// link.
type folder interface {
	// names lists what is in it, in any order. With more than most it gives none, and an error that wraps errTooBig.
	names(most int) ([]string, error)
	stat(name string) (inode, error)
	enter(name string) (folder, error)
	target(link string) (string, error)
	// read passes on the content of a regular file, piece by piece, and returns what the file was before and after.
	read(name string, to func(piece []byte)) (before, after inode, err error)
	// extended returns an extended attribute, "" if the file has none of that name.
	extended(name, attribute string) string
	close()
}

// inode is what the file system says of a file.
type inode struct {
	number   uint64
	changed  int64 // ctime, ns
	size     int64
	mode     uint32
	uid, gid uint32
}

func toInode(stat *unix.Stat_t) inode {
	return inode{
		number: stat.Ino, changed: stat.Ctim.Nano(), size: stat.Size, mode: stat.Mode, uid: stat.Uid, gid: stat.Gid,
	}
}

// openFolder is a directory of the guest.
type openFolder struct {
	fd      int
	scratch []byte // shared by all of them: there is one walk
}

func openRoot(src *Source) (folder, error) {
	fd, err := unix.Open(src.path("/"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/", Err: err}
	}
	return &openFolder{fd: fd, scratch: make([]byte, 256<<10)}, nil
}

func (f *openFolder) close() { _ = unix.Close(f.fd) }

func (f *openFolder) names(most int) ([]string, error) {
	var names []string
	for {
		n, err := unix.ReadDirent(f.fd, f.scratch)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent(f.scratch[:n], -1, names)
		if len(names) > most {
			return nil, fmt.Errorf("%w: more than %d files", errTooBig, most)
		}
	}
}

func (f *openFolder) stat(name string) (inode, error) {
	var stat unix.Stat_t
	if err := lstatat(f.fd, name, &stat); err != nil {
		return inode{}, err
	}
	return toInode(&stat), nil
}

func (f *openFolder) enter(name string) (folder, error) {
	fd, err := f.open(name, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &openFolder{fd: fd, scratch: f.scratch}, nil
}

// open does not leave a trace in the time of access, where it may: that is for the owner of a file to decide.
func (f *openFolder) open(name string, flags int) (fd int, err error) {
	flags |= unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	fd, err = unix.Openat(f.fd, name, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Openat(f.fd, name, flags, 0)
	}
	return fd, err
}

func (f *openFolder) target(link string) (string, error) {
	n, err := unix.Readlinkat(f.fd, link, f.scratch)
	if err != nil {
		return "", err
	}
	return string(f.scratch[:n]), nil
}

func (f *openFolder) read(name string, to func([]byte)) (before, after inode, err error) {
	fd, err := f.open(name, 0)
	if err != nil {
		return inode{}, inode{}, err
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return inode{}, inode{}, err
	}
	before = toInode(&stat)
	for left := int64(maxHashed); left > 0 && before.mode&unix.S_IFMT == unix.S_IFREG; { // it may grow meanwhile
		n, err := unix.Read(fd, f.scratch)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return inode{}, inode{}, err
		}
		if n == 0 {
			break
		}
		to(f.scratch[:n])
		left -= int64(n)
	}
	// Nobody needs it in the guest's memory because it was read here, least of all a template, whose clones all have that memory.
	// What is in use stays.
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
	if err := unix.Fstat(fd, &stat); err != nil {
		return inode{}, inode{}, err
	}
	return before, toInode(&stat), nil
}

func (f *openFolder) extended(name, attribute string) string {
	// There is no lgetxattrat that every kernel has: the way leads through the descriptor, which says where the directory is.
	path := fmt.Sprintf("/proc/self/fd/%d/%s", f.fd, name)
	value := make([]byte, 4<<10)
	n, err := unix.Lgetxattr(path, attribute, value)
	if err != nil {
		return ""
	}
	return string(value[:n])
}

// content is what is taken in of a file while it is read.
type content struct {
	sum   hash.Hash
	short hash.Hash // MD5, for conffiles of dpkg
	text  []byte    // the content, as long as it is not more than room
	room  int
	size  int64
}

func newContent(room int, withMD5 bool) *content {
	c := &content{sum: sha256.New(), room: room}
	if withMD5 {
		c.short = md5.New() //nolint:gosec // as above
	}
	return c
}

func (c *content) add(piece []byte) {
	c.size += int64(len(piece))
	_, _ = c.sum.Write(piece) // never fails
	if c.short != nil {
		_, _ = c.short.Write(piece)
	}
	if c.size <= int64(c.room) {
		c.text = append(c.text, piece...)
	} else {
		c.text, c.room = nil, 0
	}
}

func (c *content) digest() string { return hex.EncodeToString(c.sum.Sum(nil)) }

// isShipped compares with the digest that the package gave: the length tells of which kind it is.
func (c *content) isShipped(shipped string) bool {
	if len(shipped) == hex.EncodedLen(sha256.Size) || c.short == nil {
		return c.digest() == shipped
	}
	return hex.EncodeToString(c.short.Sum(nil)) == shipped
}
