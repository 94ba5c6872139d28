package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// RefusedError is a file that is not taken for an image.
type RefusedError struct {
	File   string
	Reason string // what it is or refers to, and the remedy
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%s is refused: %s", e.File, e.Reason) }

// Of a qcow2 file's header (QEMU's docs/interop/qcow2.txt). All numbers are big-endian.
const (
	qcow2Magic        = "QFI\xfb"
	qcow2HeaderV2     = 72
	qcow2HeaderV3     = 104
	incompatCorrupt   = 1 << 1
	incompatExternal  = 1 << 2
	extensionEnd      = 0
	extensionDataFile = 0x44415441
	minClusterBits    = 9
	maxClusterBits    = 21
	// maxVirtual is far beyond any system disk, and keeps qemu-img's tables small.
	maxVirtual = 4 << 40
)

// checkHeader refuses what is not a qcow2 file that stands alone. A header may name other files of the host, a backing file or
// one with the data, which QEMU would open and a guest could read: so this looks before any program of QEMU's does.
func checkHeader(name string, file io.ReaderAt) error {
	refuse := func(format string, values ...any) error {
		return &RefusedError{File: name, Reason: fmt.Sprintf(format, values...)}
	}
	header := make([]byte, qcow2HeaderV3)
	n, err := file.ReadAt(header, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the header of %s: %w", name, err)
	}
	header = header[:n]
	if !bytes.HasPrefix(header, []byte(qcow2Magic)) {
		return refuse("%s", otherFormat(name, header))
	}
	if n < qcow2HeaderV2 {
		return refuse("%s", cutOff)
	}
	version := field32(header, 4)
	switch {
	case version != 2 && version != 3:
		return refuse("its qcow2 format has version %d, and 2 and 3 are known", version)
	case version == 3 && n < qcow2HeaderV3:
		return refuse("%s", cutOff)
	case field64(header, 8) != 0:
		return refuse("it is only what was written above a backing file. Make one file of both, where the other one is: "+
			"qemu-img convert -O qcow2 %s FLAT.qcow2", name)
	case field32(header, 32) != 0:
		return refuse("it is encrypted; make a plain one: qemu-img convert, with its secret")
	case field64(header, 24) > maxVirtual:
		return refuse("it claims a disk of %d GiB, and %d GiB is the most", field64(header, 24)>>30, int64(maxVirtual>>30))
	}
	if bits := field32(header, 20); bits < minClusterBits || bits > maxClusterBits {
		return refuse("it claims clusters of 2^%d bytes", bits)
	}
	start := int64(qcow2HeaderV2)
	if version == 3 {
		incompatible := field64(header, 72)
		start = int64(field32(header, 100))
		switch {
		case incompatible&incompatCorrupt != 0:
			return refuse("QEMU has marked it as corrupt; repair a copy: qemu-img check -r all COPY")
		case incompatible&incompatExternal != 0:
			return refuse("%s", dataFileReason)
		case start < qcow2HeaderV3 || start > 1<<minClusterBits:
			return refuse("it claims a header of %d bytes", start)
		}
	}
	return checkExtensions(refuse, file, start, int64(1)<<field32(header, 20))
}

const cutOff = "it is cut off within its header"

const dataFileReason = "its data is in another file. Make one file of both, where the other one is: qemu-img convert -O qcow2"

// checkExtensions walks the header's extensions, which end before the second cluster.
func checkExtensions(refuse func(string, ...any) error, file io.ReaderAt, at, end int64) error {
	for at+8 <= end {
		var head [8]byte
		if _, err := file.ReadAt(head[:], at); err != nil {
			return refuse("%s", cutOff)
		}
		kind, length := field32(head[:], 0), int64(field32(head[:], 4))
		switch kind {
		case extensionEnd:
			return nil
		case extensionDataFile:
			return refuse("%s", dataFileReason)
		}
		at += 8 + (length+7)&^7
	}
	return nil
}

func field32(header []byte, at int) uint32 { return binary.BigEndian.Uint32(header[at:]) }
func field64(header []byte, at int) uint64 { return binary.BigEndian.Uint64(header[at:]) }

// otherFormat says what a file is, as far as its first bytes tell, and how it becomes a qcow2 file.
func otherFormat(name string, header []byte) string {
	for _, known := range []struct{ magic, words, format string }{
		{"KDMV", "a VMware disk (vmdk)", "vmdk"},
		{"# Disk DescriptorFile", "the description of a VMware disk (vmdk)", "vmdk"},
		{"vhdxfile", "a Hyper-V disk (vhdx)", "vhdx"},
		{"conectix", "a Virtual PC disk (vhd)", "vpc"},
		{"<<< Oracle VM VirtualBox", "a VirtualBox disk (vdi)", "vdi"},
		{"QED\x00", "a disk of format qed", "qed"},
	} {
		if bytes.HasPrefix(header, []byte(known.magic)) {
			return fmt.Sprintf("it is %s. Convert it: qemu-img convert -f %s -O qcow2 %s DISK.qcow2", known.words, known.format, name)
		}
	}
	for _, packed := range []struct{ magic, words, remedy string }{
		{"\x1f\x8b", "packed with gzip (a Vagrant box is a tar archive like that; the disk in it is box.img)", "tar -xzf, or gunzip"},
		{"\xfd7zXZ", "packed with xz", "unxz"},
		{"\x28\xb5\x2f\xfd", "packed with zstd", "unzstd"},
		{"BZh", "packed with bzip2", "bunzip2"},
	} {
		if bytes.HasPrefix(header, []byte(packed.magic)) {
			return fmt.Sprintf("it is %s. Unpack it first: %s", packed.words, packed.remedy)
		}
	}
	return "it is no qcow2 file. A raw disk is converted so: qemu-img convert -f raw -O qcow2 " + name + " DISK.qcow2"
}
