package ext4

import (
	"fmt"
	"io"
	"time"
)

// The kinds of files in a mode.
const (
	modeKind    = 0o170000
	modeRegular = 0o100000
	modeDir     = 0o040000
	modeLink    = 0o120000
)

// Flags of an inode.
const (
	flagExtents    = 0x00080000
	flagInlineData = 0x10000000
	flagEncrypted  = 0x00000800
)

// Inode is a file.
type Inode struct {
	Number   uint32
	Mode     uint32 // with the kind, as in stat(2)
	UID, GID uint32
	Size     int64
	Changed  time.Time // ctime

	fs     *FS
	flags  uint32
	blocks [60]byte // the map of its blocks, or a short link's target
	raw    []byte
}

// Root returns the root directory.
func (fs *FS) Root() (*Inode, error) { return fs.Inode(rootInode) }

// Inode reads a file by its number.
func (fs *FS) Inode(number uint32) (*Inode, error) {
	if number == 0 || number > fs.inodes {
		return nil, notRead("inode %d of %d", number, fs.inodes)
	}
	group, index := (number-1)/fs.inodesPerGroup, (number-1)%fs.inodesPerGroup
	raw := make([]byte, fs.inodeSize)
	if err := fs.readAt(raw, fs.tables[group], int64(index)*fs.inodeSize); err != nil {
		return nil, fmt.Errorf("reading inode %d: %w", number, err)
	}
	i := &Inode{
		Number: number, fs: fs, raw: raw, flags: le.Uint32(raw[0x20:]),
		Mode: uint32(le.Uint16(raw)),
		UID:  uint32(le.Uint16(raw[0x02:])) | uint32(le.Uint16(raw[0x78:]))<<16,
		GID:  uint32(le.Uint16(raw[0x18:])) | uint32(le.Uint16(raw[0x7A:]))<<16,
		Size: int64(le.Uint32(raw[0x04:])),
	}
	if i.Mode&modeKind == modeRegular || i.Mode&modeKind == modeDir {
		i.Size |= int64(le.Uint32(raw[0x6C:])) << 32
	}
	if i.Size < 0 {
		return nil, notRead("inode %d has %d bytes", number, i.Size)
	}
	copy(i.blocks[:], raw[0x28:])
	i.Changed = i.time(0x0C, 0x84)
	return i, nil
}

// time reads a time of which the nanoseconds, and two more bits of the seconds, are among the fields that were added.
func (i *Inode) time(at, extra int) time.Time {
	seconds, nanoseconds := int64(int32(le.Uint32(i.raw[at:]))), int64(0)
	if i.extraEnd() >= extra+4 {
		more := le.Uint32(i.raw[extra:])
		seconds += int64(more&3) << 32
		nanoseconds = int64(more >> 2)
	}
	return time.Unix(seconds, nanoseconds)
}

// extraEnd is where the fields end that were added to those of ext2.
func (i *Inode) extraEnd() int {
	if len(i.raw) < goodInodeSize+4 {
		return goodInodeSize
	}
	return min(len(i.raw), goodInodeSize+int(le.Uint16(i.raw[goodInodeSize:])))
}

// Target returns what a symbolic link says.
func (i *Inode) Target() (string, error) {
	const longest = 4096
	if i.Mode&modeKind != modeLink || i.Size > longest {
		return "", notRead("inode %d is not a link, or one of %d bytes", i.Number, i.Size)
	}
	if i.Size < int64(len(i.blocks)) && i.flags&flagExtents == 0 {
		return string(i.blocks[:i.Size]), nil
	}
	target := make([]byte, i.Size)
	if _, err := io.ReadFull(i.Content(), target); err != nil {
		return "", fmt.Errorf("reading the link of inode %d: %w", i.Number, err)
	}
	return string(target), nil
}

// Content reads a file from its beginning. Holes read as zeros.
func (i *Inode) Content() io.Reader { return &contentReader{inode: i} }

type contentReader struct {
	inode *Inode
	runs  []run
	ready bool
	at    int64
}

// run is a row of blocks of a file that lie beside each other on the disk.
type run struct {
	first uint64 // block of the file
	count uint64
	start uint64 // block of the disk
	empty bool   // allocated and never written
}

func (r *contentReader) Read(into []byte) (int, error) {
	if !r.ready {
		runs, err := r.inode.runs()
		if err != nil {
			return 0, err
		}
		r.runs, r.ready = runs, true
	}
	left := r.inode.Size - r.at
	if left <= 0 {
		return 0, io.EOF
	}
	blockSize := r.inode.fs.blockSize
	into = into[:min(int64(len(into)), left)]
	block := uint64(r.at / blockSize)
	for len(r.runs) > 0 && block >= r.runs[0].first+r.runs[0].count {
		r.runs = r.runs[1:]
	}
	if len(r.runs) == 0 || block < r.runs[0].first || r.runs[0].empty { // a hole
		end := r.inode.Size
		if len(r.runs) > 0 {
			end = int64(r.runs[0].first) * blockSize
			if block >= r.runs[0].first {
				end = int64(r.runs[0].first+r.runs[0].count) * blockSize
			}
		}
		n := min(int64(len(into)), end-r.at)
		clear(into[:n])
		r.at += n
		return int(n), nil
	}
	now := r.runs[0]
	within := r.at - int64(now.first)*blockSize
	n := min(int64(len(into)), int64(now.count)*blockSize-within)
	if err := r.inode.fs.readAt(into[:n], now.start+uint64(within/blockSize), within%blockSize); err != nil {
		return 0, fmt.Errorf("reading inode %d: %w", r.inode.Number, err)
	}
	r.at += n
	return int(n), nil
}
