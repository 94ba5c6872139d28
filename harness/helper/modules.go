package helper

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/probe/ext4"
)

// needed are the modules without which the helper sees neither the disk nor the host, unless the kernel has them built in.
var needed = []string{"virtio_pci", "virtio_blk", "virtio_console", "ext4"}

// useful are those that are taken where they are there: ext4 asks for crc32c by its purpose, and a system partition has FAT with
// names in one of these.
var useful = []string{"crc32c_generic", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"}

// Limits of what is read of an image's disk.
const (
	maxIndex  = 8 << 20  // bytes of modules.dep; a distribution's kernel has a tenth
	maxModule = 32 << 20 // bytes of a module
	maxKernel = 64 << 20 // bytes of a kernel
)

// module is a file to be loaded.
type module struct {
	name    string // base name of the file, which says how it is packed
	content []byte
}

// readModules reads the modules of a kernel that a helper needs, in the order in which they are to be loaded.
func readModules(disk *ext4.FS, release string) ([]module, error) {
	dir := "/lib/modules/" + release
	dep, err := disk.ReadFile(dir+"/modules.dep", maxIndex)
	if err != nil {
		return nil, err
	}
	builtin, err := disk.ReadFile(dir+"/modules.builtin", maxIndex)
	if err != nil {
		return nil, err
	}
	paths, err := loadOrder(dep, builtin)
	if err != nil {
		return nil, fmt.Errorf("looking for the modules of kernel %s: %w", release, err)
	}
	var modules []module
	for _, p := range paths {
		content, err := disk.ReadFile(dir+"/"+p, maxModule)
		if err != nil {
			return nil, err
		}
		modules = append(modules, module{path.Base(p), content})
	}
	return modules, nil
}

// loadOrder returns the files of the modules that a helper needs, each after those that it needs itself. dep and builtin are the
// files of that name, see modules.dep(5).
func loadOrder(dep, builtin []byte) ([]string, error) {
	files, needs := map[string]string{}, map[string][]string{}
	for line := range bytes.Lines(dep) {
		file, rest, found := strings.Cut(strings.TrimSpace(string(line)), ":")
		if found {
			files[moduleName(file)], needs[file] = file, strings.Fields(rest)
		}
	}
	has := map[string]bool{}
	for line := range bytes.Lines(builtin) {
		has[moduleName(strings.TrimSpace(string(line)))] = true
	}
	var order []string
	seen := map[string]bool{}
	var load func(file string)
	load = func(file string) {
		if seen[file] {
			return
		}
		seen[file] = true // before the others: a circle ends here
		for _, other := range needs[file] {
			load(other)
		}
		order = append(order, file)
	}
	for _, name := range slices.Concat(useful, needed) {
		if file, found := files[name]; found {
			load(file)
		} else if !has[name] && slices.Contains(needed, name) {
			return nil, fmt.Errorf("it has no module %s, and not built in either", name)
		}
	}
	return order, nil
}

// moduleName is what a module is called, of which the file is kernel/fs/ext4/ext4.ko.xz: dashes are underscores.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}
