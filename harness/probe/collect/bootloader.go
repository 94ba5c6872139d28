package collect

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

const (
	maxDisks   = 16
	maxLoaders = 64 // of EFI's boot menu, and files of a boot loader
	efiVars    = "/sys/firmware/efi/efivars"
	efiGUID    = "-8be4df61-93ca-11d2-aa0d-00e098032b8c" // of the variables that the standard names
)

// firmware says where the firmware looks for a boot loader, and what is there.
func (b *bootReader) firmware() {
	if !b.src.exists("/sys/firmware/efi") {
		b.add("firmware", map[string]string{"kind": "bios"})
		b.disks()
		return
	}
	attributes := map[string]string{"kind": "efi"}
	for key, name := range map[string]string{"order": "BootOrder", "current": "BootCurrent", "next": "BootNext"} {
		content, err := b.src.read(efiVars+"/"+name+efiGUID, maxSmall)
		if err == nil && len(content) > efiAttributes {
			attributes[key] = bootNumbers(content[efiAttributes:])
		}
	}
	b.add("firmware", attributes)
	b.efiEntries()
	b.systemPartitions()
}

// disks says of each disk what its first sectors start.
func (b *bootReader) disks() {
	entries, _ := b.src.readDir("/sys/class/block")
	holder := b.diskOf("/boot")
	for _, entry := range entries {
		name := entry.Name()
		if b.src.exists("/sys/class/block/"+name+"/partition") || !b.src.exists("/sys/class/block/"+name+"/device") || len(b.facts) > maxDevices {
			continue
		}
		attributes := map[string]string{}
		if name == holder {
			attributes["boot"] = "true"
		}
		attributes["state"] = b.bootSector("/dev/" + name)
		b.add("disk "+name, attributes)
	}
}

// diskOf returns the disk on which the file system of a directory lies; "" where it is not a partition of one.
func (b *bootReader) diskOf(dir string) string {
	m, ok := b.mountOf(dir)
	if !ok {
		return ""
	}
	target, err := b.src.readLink("/sys/dev/block/" + m.device)
	if err != nil {
		return ""
	}
	full := path.Join("/sys/dev/block", target)
	if b.src.exists(full + "/partition") {
		full = path.Dir(full)
	}
	return path.Base(full)
}

// bootSector says what a disk starts: "grub", "grub: ..." where something is wrong with it, "other", or "none".
func (b *bootReader) bootSector(node string) string {
	disk, err := os.Open(b.src.path(node))
	if err != nil {
		return ""
	}
	defer disk.Close()                                             //nolint:errcheck // it was read only
	core, _ := b.src.read("/boot/grub/i386-pc/core.img", maxSmall) // without one nothing is compared
	return readBootSector(disk, core)
}

const sectorSize = 512

// readBootSector reads the boot sector of GRUB and the core image that it loads. installed is the one that grub-install has kept, of
// which it changes some bytes in the first two sectors.
func readBootSector(disk io.ReaderAt, installed []byte) string {
	const kernelSector = 0x5c
	first := make([]byte, sectorSize)
	if _, err := disk.ReadAt(first, 0); err != nil {
		return ""
	}
	switch {
	case first[510] != 0x55 || first[511] != 0xaa:
		return "none"
	case !bytes.Contains(first, []byte("GRUB \x00")):
		if bytes.Count(first[:440], []byte{0}) == 440 {
			return "none"
		}
		return "other"
	}
	core, err := readCore(disk, binary.LittleEndian.Uint64(first[kernelSector:]))
	if err != nil {
		return "grub: " + err.Error()
	}
	const same = 2 * sectorSize
	if len(installed) > same && (len(core) < len(installed) || !bytes.Equal(core[same:len(installed)], installed[same:])) {
		return "grub: the core image in the disk's first sectors is not the one in /boot/grub"
	}
	return "grub"
}

var errNoCore = errors.New("there is no core image where the boot sector looks for it")

// readCore follows the list of blocks at the end of the core image's first sector.
func readCore(disk io.ReaderAt, at uint64) ([]byte, error) {
	const (
		lastEntry, entry = 0x1f4, 12
		maxSectors       = 4096
	)
	list := make([]byte, sectorSize)
	if at == 0 || at > 1<<40 {
		return nil, errNoCore
	}
	if _, err := disk.ReadAt(list, int64(at)*sectorSize); err != nil || !bytes.Contains(list, []byte("loading")) {
		return nil, errNoCore
	}
	core := bytes.Clone(list)
	sectors := 0
	for p := lastEntry; p > sectorSize/2; p -= entry {
		start, count := binary.LittleEndian.Uint64(list[p:]), int(binary.LittleEndian.Uint16(list[p+8:]))
		if count == 0 {
			break
		}
		if sectors += count; sectors > maxSectors || start > 1<<40 {
			return nil, errNoCore
		}
		part := make([]byte, count*sectorSize)
		if _, err := disk.ReadAt(part, int64(start)*sectorSize); err != nil {
			return nil, errNoCore
		}
		core = append(core, part...)
	}
	if sectors == 0 || bytes.Count(core[sectorSize:], []byte{0}) == len(core)-sectorSize {
		return nil, errNoCore
	}
	return core, nil
}

// efiAttributes is the length of what efivarfs puts before a variable's content.
const efiAttributes = 4

// bootNumbers renders a list of entries as firmware tools do: 0001,0002.
func bootNumbers(content []byte) string {
	var numbers []string
	for ; len(content) >= 2 && len(numbers) < maxLoaders; content = content[2:] {
		numbers = append(numbers, fmt.Sprintf("%04X", binary.LittleEndian.Uint16(content)))
	}
	return strings.Join(numbers, ",")
}

// efiEntries reads the entries of the firmware's boot menu.
func (b *bootReader) efiEntries() {
	entries, _ := b.src.readDir(efiVars) // not mounted: the entries are unknown
	read := 0
	for _, e := range entries {
		name, standard := strings.CutSuffix(e.Name(), efiGUID)
		number, isEntry := strings.CutPrefix(name, "Boot")
		if _, err := strconv.ParseUint(number, 16, 16); !standard || !isEntry || err != nil || len(number) != 4 || read >= maxLoaders {
			continue
		}
		read++
		content, err := b.src.read(efiVars+"/"+e.Name(), maxSmall)
		if err != nil || len(content) <= efiAttributes {
			continue
		}
		if o, ok := parseLoadOption(content[efiAttributes:]); ok {
			b.add("efi "+number, map[string]string{
				"title": o.title, "partition": o.partition, "file": o.file, "active": strconv.FormatBool(o.active),
			})
		}
	}
}

// loadOption is an entry of the firmware's boot menu.
type loadOption struct {
	title, partition, file string
	active                 bool
}

// parseLoadOption reads an EFI_LOAD_OPTION: attributes, length of the path, title, and the path as a list of nodes.
func parseLoadOption(content []byte) (o loadOption, ok bool) {
	const (
		head, node                   = 6, 4
		media, hardDrive, file, over = 4, 1, 4, 0x7f
		guidAt, guidSize             = 24, 16
	)
	if len(content) < head {
		return o, false
	}
	o.active = content[0]&1 != 0
	length := int(binary.LittleEndian.Uint16(content[4:]))
	title, rest := utf16Text(content[head:])
	o.title = title
	rest = rest[:min(length, len(rest))]
	for len(rest) >= node {
		size := int(binary.LittleEndian.Uint16(rest[2:]))
		if size < node || size > len(rest) || rest[0] == over {
			break
		}
		data := rest[node:size]
		switch {
		case rest[0] == media && rest[1] == hardDrive && len(data) >= guidAt-node+guidSize:
			o.partition = guid(data[guidAt-node:])
		case rest[0] == media && rest[1] == file:
			o.file, _ = utf16Text(data)
		}
		rest = rest[size:]
	}
	return o, true
}

// utf16Text reads until a zero, and returns what follows it.
func utf16Text(content []byte) (text string, rest []byte) {
	var units []uint16
	for ; len(content) >= 2; content = content[2:] {
		unit := binary.LittleEndian.Uint16(content)
		if unit == 0 {
			return string(utf16.Decode(units)), content[2:]
		}
		units = append(units, unit)
	}
	return string(utf16.Decode(units)), nil
}

// guid renders one as udev does; its first three parts are stored with the lowest byte first.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%s-%s", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]),
		binary.LittleEndian.Uint16(b[6:]), hex.EncodeToString(b[8:10]), hex.EncodeToString(b[10:16]))
}

// systemPartitions lists the boot loaders on the EFI system partitions that are mounted.
func (b *bootReader) systemPartitions() {
	for _, m := range b.mounts {
		if m.fstype != "vfat" || !b.src.exists(m.point+"/EFI") {
			continue
		}
		attributes := map[string]string{}
		for name, node := range b.devices {
			if id, ok := strings.CutPrefix(name, "PARTUUID="); ok && node == m.source {
				attributes["partition"] = strings.ToLower(id)
			}
		}
		b.add("esp "+m.point, attributes)
		b.loaders(m.point)
	}
}

func (b *bootReader) loaders(point string) {
	vendors, _ := b.src.readDir(point + "/EFI")
	read := 0
	for _, vendor := range vendors {
		files, _ := b.src.readDir(point + "/EFI/" + vendor.Name())
		for _, file := range files {
			full := point + "/EFI/" + vendor.Name() + "/" + file.Name()
			extension := strings.ToLower(path.Ext(full))
			if !slices.Contains([]string{".efi", ".cfg"}, extension) || read >= maxLoaders {
				continue
			}
			read++
			b.loaderFile(full, extension)
		}
	}
}

func (b *bootReader) loaderFile(full, extension string) {
	info, err := b.stat(full)
	if err != nil {
		return
	}
	attributes := map[string]string{"what": "loader", "size": strconv.FormatInt(info.Size, 10)}
	if extension == ".cfg" {
		content, err := b.src.read(full, maxSmall)
		b.note(err)
		attributes["what"], attributes["text"] = "stub", withoutPasswords(content)
		b.add("file "+full, attributes)
		return
	}
	head, err := b.head(full, sectorSize*8)
	b.note(err)
	attributes["state"] = loaderState(head, info.Size)
	b.add("file "+full, attributes)
}

// loaderState says whether an EFI program has all the sections of which its header tells.
func loaderState(head []byte, size int64) string {
	const (
		lfanew, coff, section                = 0x3c, 24, 40
		sections, optional, rawSize, rawData = 6, 20, 16, 20
	)
	if len(head) < lfanew+4 || string(head[:2]) != "MZ" {
		return "cut off: it is no program"
	}
	at := int64(binary.LittleEndian.Uint32(head[lfanew:]))
	if at+coff > int64(len(head)) || string(head[at:at+4]) != "PE\x00\x00" {
		return "cut off: it is no program"
	}
	table := at + coff + int64(binary.LittleEndian.Uint16(head[at+optional:]))
	for i := range int64(binary.LittleEndian.Uint16(head[at+sections:])) {
		entry := table + i*section
		if entry+section > int64(len(head)) {
			break
		}
		end := int64(binary.LittleEndian.Uint32(head[entry+rawData:])) + int64(binary.LittleEndian.Uint32(head[entry+rawSize:]))
		if end > size {
			return fmt.Sprintf("cut off: %d bytes of %d", size, end)
		}
	}
	return "whole"
}
