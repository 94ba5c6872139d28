package ext4

import (
	"fmt"
	"io"
	"strings"
)

// maxDirectory bounds what is read of a directory, in bytes: a million names.
const maxDirectory = 64 << 20

// Names returns the inodes of what is in a directory, by name, without "." and "..".
func (i *Inode) Names() (map[string]uint32, error) {
	if i.Mode&modeKind != modeDir || i.Size > maxDirectory {
		return nil, notRead("inode %d is not a directory, or one of %d bytes", i.Number, i.Size)
	}
	names := map[string]uint32{}
	block := make([]byte, i.fs.blockSize)
	content := i.Content()
	for at := int64(0); at < i.Size; at += i.fs.blockSize {
		n, err := io.ReadFull(content, block)
		if err != nil && err != io.ErrUnexpectedEOF {
			return nil, fmt.Errorf("reading directory %d: %w", i.Number, err)
		}
		// The nodes of a directory's hash tree look like blocks with one entry that is not used.
		if err := addNames(block[:n], names); err != nil {
			return nil, fmt.Errorf("reading directory %d: %w", i.Number, err)
		}
	}
	return names, nil
}

func addNames(block []byte, names map[string]uint32) error {
	const header = 8
	for len(block) >= header {
		inode, length, size := le.Uint32(block), int(le.Uint16(block[4:])), int(block[6])
		if length == 0 && len(block) == maxBlockSize || length == 65535 { // how a whole block of 64 KiB is written
			length = len(block)
		}
		if length < header || length > len(block) || length%4 != 0 || header+size > length {
			return notRead("an entry of %d bytes with a name of %d", length, size)
		}
		if name := string(block[header : header+size]); inode != 0 && size > 0 && name != "." && name != ".." {
			if strings.ContainsAny(name, "/\x00") {
				return notRead("the name %q", name)
			}
			names[name] = inode
		}
		block = block[length:]
	}
	return nil
}
