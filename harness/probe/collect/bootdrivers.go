package collect

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// rootDrivers says which modules the root file system needs, by itself and for each kernel.
func (b *bootReader) rootDrivers() {
	root, ok := b.mountOf("/")
	if !ok {
		return
	}
	needs := []string{root.fstype}
	b.driversOf(root.device, &needs, 0)
	slices.Sort(needs)
	needs = slices.Compact(needs)
	b.add("root", map[string]string{"device": root.source, "fstype": root.fstype, "needs": strings.Join(needs, ",")})
	for _, release := range b.releases {
		b.modulesOf(release, needs)
	}
}

// maxStacked is how many devices may lie one upon the other: a file system on LVM on a RAID on disks is three.
const maxStacked = 8

// driversOf adds the modules of the drivers of a block device, of those that it is made of, and of the buses that lead to them.
func (b *bootReader) driversOf(number string, needs *[]string, depth int) {
	link := "/sys/dev/block/" + number
	target, err := b.src.readLink(link)
	if err != nil || depth > maxStacked || len(*needs) > maxKernels {
		return // no device of the kernel's: a network's, or btrfs's own
	}
	dir := path.Join(path.Dir(link), target)
	switch name := path.Base(dir); {
	case strings.HasPrefix(name, "dm-"):
		*needs = append(*needs, "dm_mod")
	case strings.HasPrefix(name, "md"):
		*needs = append(*needs, "md_mod")
	}
	slaves, _ := b.src.readDir(dir + "/slaves")
	for _, slave := range slaves {
		if number, err := b.src.read(path.Join("/sys/class/block", slave.Name(), "dev"), maxSmall); err == nil {
			b.driversOf(strings.TrimSpace(string(number)), needs, depth+1)
		}
	}
	for ; strings.HasPrefix(dir, "/sys/devices/"); dir = path.Dir(dir) {
		if module, err := filepath.EvalSymlinks(b.src.path(dir + "/driver/module")); err == nil {
			*needs = append(*needs, strings.ReplaceAll(path.Base(module), "-", "_"))
		}
	}
}

// modulesOf says which of the modules, with those that they need in turn, a kernel has to load, and which of them are not there.
func (b *bootReader) modulesOf(release string, needs []string) {
	const dir = "/lib/modules/"
	attributes := map[string]string{"state": "whole"}
	defer b.add("modules "+release, attributes)
	if info, err := os.Stat(b.src.path(dir + release)); err != nil || !info.IsDir() {
		attributes["state"] = "missing"
		return
	}
	listed, err := b.src.read(dir+release+"/modules.dep", maxDatabase)
	if err != nil {
		attributes["state"] = "cut off: it has no modules.dep"
		return
	}
	builtin, _ := b.src.read(dir+release+"/modules.builtin", maxDatabase)
	loads, lacks := b.closure(dir+release, parseModules(listed), parseModules(builtin), needs)
	attributes["needs"], attributes["lacks"] = strings.Join(loads, ","), strings.Join(lacks, ",")
}

// module is a line of modules.dep: a file, and the files that it needs.
type module struct {
	file  string
	needs []string
}

// parseModules reads modules.dep, or modules.builtin, which has names alone.
func parseModules(listed []byte) map[string]module {
	found := map[string]module{}
	for line := range bytes.Lines(listed) {
		file, needs, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		if name, ok := moduleName(path.Base(file)); ok {
			found[name] = module{file, strings.Fields(needs)}
		}
	}
	return found
}

// closure returns the modules to load, and those that are not there.
func (b *bootReader) closure(dir string, loadable, builtin map[string]module, needs []string) (loads, lacks []string) {
	for _, name := range needs {
		m, ok := loadable[name]
		if _, inside := builtin[name]; inside {
			continue
		}
		if !ok || !b.src.exists(path.Join(dir, m.file)) {
			lacks = append(lacks, name)
			continue
		}
		loads = append(loads, name)
		for _, file := range m.needs {
			if name, ok := moduleName(path.Base(file)); ok {
				loads = append(loads, name)
			}
		}
	}
	slices.Sort(loads)
	slices.Sort(lacks)
	return slices.Compact(loads), slices.Compact(lacks)
}
