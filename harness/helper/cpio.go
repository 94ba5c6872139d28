package helper

import (
	"fmt"
	"io"
)

// archive writes what a kernel takes for its first file system: cpio in the format "newc", see the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst. Several in a row are unpacked one over the other.
type archive struct {
	to     io.Writer
	err    error // the first
	number int
}

// The kinds of files in a mode.
const (
	modeDir    = 0o040000
	modeFile   = 0o100000
	modeDevice = 0o020000
)

func (a *archive) dir(name string) { a.add(name, modeDir|0o755, nil, 0, 0) }

func (a *archive) file(name string, permissions uint32, content []byte) {
	a.add(name, modeFile|permissions, content, 0, 0)
}

// device adds a character device.
func (a *archive) device(name string, major, minor int) {
	a.add(name, modeDevice|0o600, nil, major, minor)
}

// close ends the archive and returns the first error.
func (a *archive) close() error {
	a.add("TRAILER!!!", 0, nil, 0, 0)
	if a.err != nil {
		return fmt.Errorf("writing an initial file system: %w", a.err)
	}
	return nil
}

func (a *archive) add(name string, mode uint32, content []byte, major, minor int) {
	if a.err != nil {
		return
	}
	a.number++
	links := 1
	if mode&modeDir == modeDir && mode&modeFile == 0 {
		links = 2
	}
	// ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.number, mode, 0, 0, links, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	a.write([]byte(header + name + "\x00"))
	a.pad(len(header) + len(name) + 1)
	a.write(content)
	a.pad(len(content))
}

// pad fills up to a multiple of four.
func (a *archive) pad(length int) { a.write(make([]byte, -length&3)) }

func (a *archive) write(content []byte) {
	if a.err == nil {
		_, a.err = a.to.Write(content)
	}
}
