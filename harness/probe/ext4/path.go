package ext4

import (
	"bytes"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"
)

// maxLinks bounds the symbolic links on the way to a file, as the kernel does.
const maxLinks = 40

// Lookup finds a file by its path from the root, through symbolic links, also in the last place. It returns an error that wraps
// [iofs.ErrNotExist] if there is none.
func (fs *FS) Lookup(path string) (*Inode, error) {
	root, err := fs.Root()
	if err != nil {
		return nil, err
	}
	way, left := []*Inode{root}, strings.Split(path, "/")
	for links := 0; len(left) > 0; {
		name := left[0]
		left = left[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			way = way[:max(1, len(way)-1)]
			continue
		}
		found, err := fs.in(way[len(way)-1], name)
		if err != nil {
			return nil, &iofs.PathError{Op: "look up", Path: path, Err: err}
		}
		if found.Mode&modeKind != modeLink {
			way = append(way, found)
			continue
		}
		target, err := found.Target()
		if links++; err == nil && links > maxLinks {
			err = fmt.Errorf("more than %d symbolic links", maxLinks)
		}
		if err != nil {
			return nil, &iofs.PathError{Op: "look up", Path: path, Err: err}
		}
		if strings.HasPrefix(target, "/") {
			way = way[:1]
		}
		left = append(strings.Split(target, "/"), left...)
	}
	return way[len(way)-1], nil
}

func (fs *FS) in(dir *Inode, name string) (*Inode, error) {
	names, err := dir.Names()
	if err != nil {
		return nil, err
	}
	number, found := names[name]
	if !found {
		return nil, iofs.ErrNotExist
	}
	return fs.Inode(number)
}

// ReadFile returns the content of a regular file, found as by [FS.Lookup]; one of more than most bytes is an error.
func (fs *FS) ReadFile(path string, most int64) ([]byte, error) {
	found, err := fs.Lookup(path)
	if err != nil {
		return nil, err
	}
	if found.Mode&modeKind != modeRegular || found.Size > most {
		return nil, notRead("%s is not a regular file, or one of %d bytes", path, found.Size)
	}
	var content bytes.Buffer
	if _, err := io.Copy(&content, found.Content()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return content.Bytes(), nil
}
