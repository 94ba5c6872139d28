package collect

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/grub"
)

const (
	maxGrubConfig = 1 << 20
	maxNamedFiles = 200
)

// grubMenu reads GRUB's configuration as it is, and says of each file that it names where the running system has it.
func (b *bootReader) grubMenu() {
	for _, dir := range []string{"/boot/grub", "/boot/grub2"} {
		config, err := b.src.read(dir+"/grub.cfg", maxGrubConfig)
		installed := b.src.exists(dir+"/i386-pc") || b.src.exists(dir+"/x86_64-efi") || b.src.exists(dir+"/grubenv")
		if errors.Is(err, fs.ErrNotExist) && !installed {
			continue
		}
		attributes := map[string]string{"config": dir + "/grub.cfg", "text": withoutPasswords(config), "modified": b.modified(dir + "/grub.cfg")}
		if err != nil {
			attributes["state"] = "missing"
		}
		environment, _ := b.src.read(dir+"/grubenv", maxSmall) // without one GRUB has no saved entry
		for key, value := range grub.ParseEnvironment(environment) {
			if key == "saved_entry" || key == "next_entry" {
				attributes[key] = value
			}
		}
		attributes["settings"] = b.modified("/etc/default/grub")
		b.add("loader", attributes)
		b.named = b.resolveNamed(grub.Parse(config).Linux())
		return
	}
}

// resolveNamed returns the initrds among the files that entries name.
func (b *bootReader) resolveNamed(entries []*grub.Entry) (initrds []string) {
	for _, e := range entries {
		for i, name := range append([]string{e.Linux}, e.Initrds...) {
			fact := "named (" + e.Search + ")" + name
			if b.has(fact) || len(b.facts) > maxNamedFiles {
				continue
			}
			full := b.resolve(e.Search, name)
			b.add(fact, map[string]string{"path": full})
			switch {
			case i == 0 && !slices.Contains(b.kernels, full):
				b.kernelFile(full, "")
			case i > 0 && !slices.Contains(initrds, full):
				initrds = append(initrds, full)
			}
		}
	}
	return initrds
}

// resolve finds where the running system has a file that GRUB knows by its place on a file system.
func (b *bootReader) resolve(search, name string) string {
	var on mount
	node, known := b.devices["UUID="+search]
	for _, m := range b.mounts {
		below := m.root == "/" || strings.HasPrefix(name, m.root+"/")
		if known && m.source == node && below && len(m.root) > len(on.root) {
			on = m
		}
	}
	if on.point == "" {
		if on, known = b.mountOf("/boot"); !known {
			return path.Clean("/" + name)
		}
	}
	return path.Join(on.point, strings.TrimPrefix(name, strings.TrimSuffix(on.root, "/")))
}

// withoutPasswords hides what GRUB asks for before it lets somebody edit an entry.
func withoutPasswords(config []byte) string {
	lines := strings.SplitAfter(string(config), "\n")
	for i, line := range lines {
		if words := strings.Fields(line); len(words) > 0 && strings.HasPrefix(words[0], "password") {
			lines[i] = words[0] + " (hidden)\n"
		}
	}
	return strings.Join(lines, "")
}

// modified returns when a file's content was last written, in seconds since 1970; "" for one that is not there.
func (b *bootReader) modified(name string) string {
	var info unix.Stat_t
	if unix.Stat(b.src.path(name), &info) != nil {
		return ""
	}
	return strconv.FormatInt(info.Mtim.Sec, 10)
}

// changed returns when a file was last put where it is, in seconds since 1970: packages set the other time to that of their making.
func changed(info unix.Stat_t) string { return strconv.FormatInt(info.Ctim.Sec, 10) }

// stat follows links, as GRUB does.
func (b *bootReader) stat(name string) (unix.Stat_t, error) {
	var info unix.Stat_t
	if err := unix.Stat(b.src.path(name), &info); err != nil {
		return info, fmt.Errorf("looking at %s: %w", name, err)
	}
	return info, nil
}
