package collect

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/ext4"
)

// NewDiskSource reads the root file system of a machine that is off. Of its kinds of facts, files are read as in the machine itself,
// with what its package manager and its accounts say of them; the others are not there.
func NewDiskSource(disk *ext4.FS) (*Source, error) {
	root, err := disk.Root()
	if err != nil {
		return nil, err
	}
	s := NewSource("/", nil, 0)
	s.disk, err = newDiskFolder(disk, root)
	return s, err
}

// Files is the collector of files.
func Files() Collector { return Collector{fact.KindFile, files} }

// diskFolder is a directory of a disk.
type diskFolder struct {
	disk    *ext4.FS
	self    *ext4.Inode
	numbers map[string]uint32
}

func newDiskFolder(disk *ext4.FS, self *ext4.Inode) (*diskFolder, error) {
	numbers, err := self.Names()
	if err != nil {
		return nil, err
	}
	return &diskFolder{disk: disk, self: self, numbers: numbers}, nil
}

func (f *diskFolder) close() {}

func (f *diskFolder) names(most int) ([]string, error) {
	if len(f.numbers) > most {
		return nil, fmt.Errorf("%w: more than %d files", errTooBig, most)
	}
	return slices.Collect(maps.Keys(f.numbers)), nil
}

func (f *diskFolder) inode(name string) (*ext4.Inode, error) {
	if name == "." {
		return f.self, nil
	}
	number, found := f.numbers[name]
	if !found {
		return nil, fs.ErrNotExist
	}
	return f.disk.Inode(number)
}

func (f *diskFolder) stat(name string) (inode, error) {
	i, err := f.inode(name)
	if err != nil {
		return inode{}, err
	}
	return inode{
		number: uint64(i.Number), changed: i.Changed.UnixNano(), size: i.Size, mode: i.Mode, uid: i.UID, gid: i.GID,
	}, nil
}

func (f *diskFolder) enter(name string) (folder, error) {
	i, err := f.inode(name)
	if err != nil {
		return nil, err
	}
	return newDiskFolder(f.disk, i)
}

func (f *diskFolder) target(link string) (string, error) {
	i, err := f.inode(link)
	if err != nil {
		return "", err
	}
	return i.Target()
}

func (f *diskFolder) read(name string, to func([]byte)) (before, after inode, err error) {
	if before, err = f.stat(name); err != nil {
		return inode{}, inode{}, err
	}
	i, err := f.inode(name)
	if err != nil {
		return inode{}, inode{}, err
	}
	_, err = io.CopyBuffer(pieces(to), io.LimitReader(i.Content(), maxHashed), make([]byte, 128<<10))
	return before, before, err
}

// pieces passes on what is written.
type pieces func([]byte)

func (p pieces) Write(piece []byte) (int, error) {
	p(piece)
	return len(piece), nil
}

func (f *diskFolder) extended(name, attribute string) string {
	i, err := f.inode(name)
	if err != nil {
		return ""
	}
	value, err := i.Extended(attribute)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	return value
}

// readDisk reads a file by its path, through directories alone: what is looked for on the way to nowhere through a link.
func readDisk(root folder, path string, limit int) ([]byte, error) {
	dir, names := root, strings.Split(strings.Trim(path, "/"), "/")
	for _, name := range names[:len(names)-1] {
		inner, err := dir.enter(name)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		dir = inner
	}
	name := names[len(names)-1]
	i, err := dir.stat(name)
	if err == nil && i.size > int64(limit) {
		err = errTooBig
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var content bytes.Buffer
	_, _, err = dir.read(name, func(piece []byte) { _, _ = content.Write(piece) })
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return content.Bytes(), nil
}
