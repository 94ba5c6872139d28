package image

import (
	"fmt"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image/manifest"
)

const (
	sector = 512
	// firstPartition is 1 MiB, where every partitioning tool puts it, so that a boot loader has room before it.
	firstPartition = 1 << 20
	// systemPartition is the size of the partition from which EFI firmware starts a boot loader: the least that a FAT32 file
	// system takes, and room for some more loaders.
	systemPartition = 64 << 20
	// lastGap is kept free for the copy of a GPT at the end of the disk.
	lastGap = 1 << 20
)

// layout is what lies where on an image's disk. All sizes are in bytes.
type layout struct {
	table  string // what sfdisk(8) reads
	root   string // the device of the root file system in the guest
	offset int64  // where it begins
	size   int64
}

// layoutOf returns an MS-DOS table with one partition for a BIOS, and a GPT with a system partition before it for EFI.
func layoutOf(m manifest.Manifest) layout {
	if m.Firmware != hypervisor.EFI {
		return layout{
			table: fmt.Sprintf("start=%d, type=83, bootable\n", firstPartition/sector),
			root:  "/dev/vda1", offset: firstPartition, size: m.Disk.Bytes() - firstPartition,
		}
	}
	const offset = firstPartition + systemPartition
	size := m.Disk.Bytes() - offset - lastGap
	return layout{
		table: fmt.Sprintf("label: gpt\nstart=%d, size=%d, type=uefi\nstart=%d, size=%d, type=linux\n",
			firstPartition/sector, systemPartition/sector, offset/sector, size/sector),
		root: "/dev/vda2", offset: offset, size: size,
	}
}
