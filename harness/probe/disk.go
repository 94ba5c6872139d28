package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/patchlab/patchlab/harness/probe/collect"
	"github.com/patchlab/patchlab/harness/probe/ext4"
)

// ErrNoRoot means that no root file system was found on a disk that can be read without starting the machine. The guest tells then
// what is on it.
var ErrNoRoot = errors.New("no root file system that can be read from outside")

// DiskFiles reads the files of a machine that is off from its raw disk, of size bytes. What the machine's guests have changed since,
// their prints will tell.
func DiskFiles(ctx context.Context, disk io.ReaderAt, size int64, now func() time.Time) (*Files, error) {
	root, err := FindRoot(disk, size)
	if err != nil {
		return nil, err
	}
	source, err := collect.NewDiskSource(root)
	if err != nil {
		return nil, fmt.Errorf("reading a disk: %w", err)
	}
	source.Want(collect.FilesWanted{Now: now})
	doc, _ := collect.Run(ctx, source, []collect.Collector{collect.Files()}, now)
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("reading a disk: %w", err)
	}
	if doc, err = checked(doc); err != nil {
		return nil, err
	}
	reading, err := whole(doc, nil)
	return reading.Files, err
}

// FindRoot opens the file system that has an /etc, on one of the partitions of a raw disk of size bytes or on the disk as a whole. It
// returns an error that wraps [ErrNoRoot] if none can be read.
func FindRoot(disk io.ReaderAt, size int64) (*ext4.FS, error) {
	var failures []error
	for _, p := range partitions(disk, size) {
		fs, err := ext4.Open(io.NewSectionReader(disk, p.start, p.size))
		if err == nil {
			var top *ext4.Inode
			var names map[string]uint32
			if top, err = fs.Root(); err == nil {
				names, err = top.Names()
			}
			if _, isRoot := names["etc"]; err == nil && isRoot {
				return fs, nil
			}
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("%w: %w", ErrNoRoot, errors.Join(failures...))
}

// partition is a part of a disk, in bytes.
type partition struct{ start, size int64 }

const sector = 512

// partitions reads a GPT or the four entries of an MBR. The whole disk comes last, for one without either.
func partitions(disk io.ReaderAt, size int64) []partition {
	var found []partition
	add := func(start, end uint64) { // sectors
		p := partition{int64(start) * sector, int64(end-start) * sector}
		if start > 0 && end > start && end <= uint64(size)/sector {
			found = append(found, p)
		}
	}
	head := make([]byte, 2*sector)
	if _, err := disk.ReadAt(head, 0); err != nil {
		return nil
	}
	le := binary.LittleEndian
	if gpt := head[sector:]; bytes.HasPrefix(gpt, []byte("EFI PART")) {
		const most = 128
		at, count, length := le.Uint64(gpt[72:]), min(le.Uint32(gpt[80:]), most), le.Uint32(gpt[84:])
		entry := make([]byte, 128)
		for i := range count {
			offset := at*sector + uint64(i)*uint64(length)
			if length < 128 || length > 4096 || at > uint64(size)/sector {
				break
			}
			if _, err := disk.ReadAt(entry, int64(offset)); err != nil {
				break
			}
			add(le.Uint64(entry[32:]), le.Uint64(entry[40:])+1)
		}
	} else if head[510] == 0x55 && head[511] == 0xAA {
		for at := 446; at < 510; at += 16 {
			start := uint64(le.Uint32(head[at+8:]))
			add(start, start+uint64(le.Uint32(head[at+12:])))
		}
	}
	return append(found, partition{0, size})
}
