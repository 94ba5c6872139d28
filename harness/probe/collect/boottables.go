package collect

import (
	"bytes"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxDevices = 1000
	maxTable   = 500
)

// deviceNames are the directories in which udev names block devices, and how tables write such a name.
var deviceNames = []struct{ dir, prefix string }{
	{"/dev/disk/by-uuid", "UUID="},
	{"/dev/disk/by-label", "LABEL="},
	{"/dev/disk/by-partuuid", "PARTUUID="},
	{"/dev/disk/by-partlabel", "PARTLABEL="},
	{"/dev/disk/by-id", "/dev/disk/by-id/"},
	{"/dev/disk/by-path", "/dev/disk/by-path/"},
	{"/dev/mapper", "/dev/mapper/"},
	{"/sys/class/block", "/dev/"},
}

// readDevices returns the nodes of the block devices that are there, by each of their names.
func readDevices(src *Source) map[string]string {
	devices := map[string]string{}
	for _, names := range deviceNames {
		entries, _ := src.readDir(names.dir) // none has such a name
		for _, entry := range entries {
			if len(devices) >= maxDevices {
				return devices
			}
			node := "/dev/" + entry.Name()
			if target, err := src.readLink(names.dir + "/" + entry.Name()); err == nil && names.dir != "/sys/class/block" {
				node = path.Join(names.dir, target)
			}
			devices[names.prefix+unescapeDevice(entry.Name())] = node
		}
	}
	return devices
}

// unescapeDevice undoes udev's \x20.
func unescapeDevice(name string) string {
	var plain strings.Builder
	for rest := name; rest != ""; {
		before, after, found := strings.Cut(rest, `\x`)
		plain.WriteString(before)
		if !found {
			break
		}
		if len(after) < 2 {
			plain.WriteString(`\x`)
			rest = after
			continue
		}
		if value, err := strconv.ParseUint(after[:2], 16, 8); err == nil {
			plain.WriteByte(byte(value))
			after = after[2:]
		} else {
			plain.WriteString(`\x`)
		}
		rest = after
	}
	return plain.String()
}

// tables reads what the boot is told to mount, to swap on and to unlock, and the devices that there are.
func (b *bootReader) tables() {
	for name, node := range b.devices {
		b.add("device "+name, map[string]string{"node": node})
	}
	for _, w := range b.table("/etc/fstab", 3) {
		name := w[1]
		if w[2] == "swap" {
			name = "swap " + w[0]
		}
		b.add("fstab "+name, map[string]string{"source": unescapeMount(w[0]), "fstype": w[2], "options": optionOf(w)})
	}
	for _, w := range b.table("/etc/crypttab", 2) {
		b.add("crypttab "+w[0], map[string]string{"source": w[1], "options": optionOf(w)})
	}
}

func (b *bootReader) table(name string, least int) [][]string {
	content, err := b.src.read(name, maxSmall)
	if err != nil {
		return nil // there need not be one
	}
	var found [][]string
	for line := range bytes.Lines(content) {
		w := strings.Fields(string(line))
		if len(w) >= least && !strings.HasPrefix(w[0], "#") && len(found) < maxTable {
			found = append(found, w)
		}
	}
	return found
}

// optionOf returns the options of a table's line, which are its fourth word.
func optionOf(words []string) string {
	const options = 3
	if len(words) > options {
		return words[options]
	}
	return ""
}

// room says how much there is where kernels and boot loaders are written.
func (b *bootReader) room() {
	for _, dir := range []string{"/boot", "/boot/efi", "/efi"} {
		m, ok := b.mountOf(dir)
		if !ok || dir != "/boot" && m.point != dir {
			continue // it is no file system of its own
		}
		var fs unix.Statfs_t
		if unix.Statfs(b.src.path(dir), &fs) != nil {
			continue
		}
		attributes := map[string]string{
			"mount": m.point, "fstype": m.fstype,
			"free": strconv.FormatUint(fs.Bfree*uint64(fs.Bsize), 10), "total": strconv.FormatUint(fs.Blocks*uint64(fs.Bsize), 10),
		}
		if fs.Files > 0 { // FAT has none
			attributes["inodes"] = strconv.FormatUint(fs.Ffree, 10)
		}
		if slices.Contains(m.options, "ro") {
			attributes["readonly"] = "true"
		}
		b.add("room "+dir, attributes)
	}
}
