// Package ext4 reads a file system of ext2, ext3 or ext4 on a disk that is off, as far as the files of an image are concerned:
// directories, inodes, contents, links and extended attributes. It never writes, and it believes nothing: every number is checked
// against the size of the disk before it is used, for a kernel that mounts a hostile disk has no such choice.
//
// The file system must have been unmounted cleanly: what is only in its journal is not seen.
package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrNotRead is wrapped by errors about what this package does not read: another file system, one with features that it does not
// know, one that is damaged or was not unmounted.
var ErrNotRead = errors.New("not a file system that can be read")

func notRead(format string, arguments ...any) error {
	return fmt.Errorf("%w: %s", ErrNotRead, fmt.Sprintf(format, arguments...))
}

// The features without which nothing can be read right, as in the superblock.
const (
	incompatFiletype  = 0x0002
	incompatExtents   = 0x0040
	incompat64Bit     = 0x0080
	incompatFlexBG    = 0x0200
	incompatCsumSeed  = 0x2000
	incompatLargeDir  = 0x4000
	knownIncompat     = incompatFiletype | incompatExtents | incompat64Bit | incompatFlexBG | incompatCsumSeed | incompatLargeDir
	superblockOffset  = 1024
	superblockSize    = 1024
	superMagic        = 0xEF53
	stateClean        = 1
	rootInode         = 2
	goodInodeSize     = 128
	maxInodeSize      = 4096
	maxBlockSize      = 64 << 10
	maxGroups         = 1 << 20 // 128 TiB
	groupDescriptor32 = 32
	groupDescriptor64 = 64
)

var le = binary.LittleEndian

// FS is an open file system.
type FS struct {
	disk           io.ReaderAt
	blockSize      int64
	blocks         uint64
	inodes         uint32
	inodesPerGroup uint32
	inodeSize      int64
	tables         []uint64 // the block of each group's inode table
}

// Open reads the superblock of a file system that begins at the start of the disk.
func Open(disk io.ReaderAt) (*FS, error) {
	super := make([]byte, superblockSize)
	if _, err := disk.ReadAt(super, superblockOffset); err != nil {
		return nil, fmt.Errorf("reading the superblock: %w", err)
	}
	if le.Uint16(super[0x38:]) != superMagic {
		return nil, notRead("it has no superblock of ext4")
	}
	incompat := le.Uint32(super[0x60:])
	if unknown := incompat &^ knownIncompat; unknown != 0 {
		return nil, notRead("its features are %#x, of which %#x are unknown here", incompat, unknown)
	}
	if state := le.Uint16(super[0x3A:]); state != stateClean {
		return nil, notRead("it was not unmounted")
	}
	fs := &FS{disk: disk}
	log := le.Uint32(super[0x18:])
	if log > 6 {
		return nil, notRead("its blocks are of 2^%d KiB", log)
	}
	fs.blockSize = 1024 << log
	fs.blocks = uint64(le.Uint32(super[0x04:]))
	if incompat&incompat64Bit != 0 {
		fs.blocks |= uint64(le.Uint32(super[0x150:])) << 32
	}
	fs.inodes, fs.inodesPerGroup = le.Uint32(super[0x00:]), le.Uint32(super[0x28:])
	fs.inodeSize = goodInodeSize
	if le.Uint32(super[0x4C:]) >= 1 { // the revision since which it is said
		fs.inodeSize = int64(le.Uint16(super[0x58:]))
	}
	if fs.inodeSize < goodInodeSize || fs.inodeSize > maxInodeSize || fs.inodeSize > fs.blockSize || fs.inodesPerGroup == 0 || fs.inodes == 0 {
		return nil, notRead("inodes of %d bytes, %d in a group, %d in all", fs.inodeSize, fs.inodesPerGroup, fs.inodes)
	}
	return fs, fs.readGroups(super, incompat)
}

// readGroups reads where the inode tables lie.
func (fs *FS) readGroups(super []byte, incompat uint32) error {
	groups := (uint64(fs.inodes) + uint64(fs.inodesPerGroup) - 1) / uint64(fs.inodesPerGroup)
	if groups > maxGroups {
		return notRead("it has %d groups", groups)
	}
	size := int64(groupDescriptor32)
	if incompat&incompat64Bit != 0 {
		if size = int64(le.Uint16(super[0xFE:])); size < groupDescriptor64 || size > fs.blockSize {
			return notRead("group descriptors of %d bytes", size)
		}
	}
	first := uint64(le.Uint32(super[0x14:])) + 1 // after the block of the superblock
	content := make([]byte, int64(groups)*size)
	if err := fs.readAt(content, first, 0); err != nil {
		return fmt.Errorf("reading the group descriptors: %w", err)
	}
	for i := range int64(groups) {
		descriptor := content[i*size:]
		table := uint64(le.Uint32(descriptor[0x08:]))
		if size >= groupDescriptor64 {
			table |= uint64(le.Uint32(descriptor[0x28:])) << 32
		}
		fs.tables = append(fs.tables, table)
	}
	return nil
}

// readAt reads from an offset in a block on, within the file system.
func (fs *FS) readAt(into []byte, block uint64, offset int64) error {
	needed := uint64((offset + int64(len(into)) + fs.blockSize - 1) / fs.blockSize)
	if block == 0 || block >= fs.blocks || needed > fs.blocks-block {
		return notRead("%d blocks from %d on, of %d", needed, block, fs.blocks)
	}
	_, err := fs.disk.ReadAt(into, int64(block)*fs.blockSize+offset)
	return err
}
