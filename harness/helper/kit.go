package helper

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/probe/ext4"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// errNoKernel means that an image has no kernel with its modules where Debian and its kin put them.
var errNoKernel = errors.New("no kernel with its modules is on the image's disk")

// Kit is what helpers of one image boot, as files on this host: the image's own kernel, which is known to run on the hardware of its
// clones, and a file system for the kernel's start.
type Kit struct{ Kernel, Initrd string }

// Content is that of the files of a kit.
type Content struct{ Kernel, Initrd []byte }

// Make takes a kit off the disk of an image: its newest kernel, and of the modules those that a helper needs. program is the probe.
func Make(disk *ext4.FS, program []byte) (Content, error) {
	release, err := newestKernel(disk)
	if err != nil {
		return Content{}, err
	}
	kernel, err := disk.ReadFile("/boot/vmlinuz-"+release, maxKernel)
	if err != nil {
		return Content{}, err
	}
	modules, err := readModules(disk, release)
	if err != nil {
		return Content{}, err
	}
	var initrd bytes.Buffer
	if err := writeInitrd(&initrd, program, modules); err != nil {
		return Content{}, err
	}
	return Content{Kernel: kernel, Initrd: initrd.Bytes()}, nil
}

func writeInitrd(to io.Writer, program []byte, modules []module) error {
	a := &archive{to: to}
	inside := strings.TrimPrefix(protocol.ModulesDir, "/")
	for _, dir := range []string{"dev", "proc", "sys", inside} {
		a.dir(dir)
	}
	a.device("dev/console", 5, 1) // for what goes wrong before /dev is there
	a.file("init", 0o755, program)
	for i, m := range modules {
		a.file(fmt.Sprintf("%s/%02d-%s", inside, i, m.name), 0o644, m.content)
	}
	return a.close()
}

// newestKernel returns the release of the newest kernel that has modules.
func newestKernel(disk *ext4.FS) (string, error) {
	boot, err := names(disk, "/boot")
	if err != nil {
		return "", err
	}
	modules, err := names(disk, "/lib/modules")
	if err != nil {
		return "", err
	}
	var releases []string
	for _, name := range boot {
		release, isKernel := strings.CutPrefix(name, "vmlinuz-")
		if isKernel && slices.Contains(modules, release) {
			releases = append(releases, release)
		}
	}
	if len(releases) == 0 {
		return "", errNoKernel
	}
	return slices.MaxFunc(releases, compareReleases), nil
}

func names(disk *ext4.FS, path string) ([]string, error) {
	dir, err := disk.Lookup(path)
	if err != nil {
		return nil, err
	}
	found, err := dir.Names()
	return slices.Collect(maps.Keys(found)), err
}

// compareReleases orders kernels by the numbers in their names: 6.1.0-9 is older than 6.1.0-50.
func compareReleases(a, b string) int {
	for a != "" && b != "" {
		if !startsWithDigit(a) || !startsWithDigit(b) {
			if a[0] != b[0] {
				return int(a[0]) - int(b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		var x, y string
		x, a = cutNumber(a)
		y, b = cutNumber(b)
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		if order := strings.Compare(x, y); order != 0 {
			return order
		}
	}
	return len(a) - len(b)
}

func startsWithDigit(s string) bool { return s[0] >= '0' && s[0] <= '9' }

// cutNumber cuts the leading digits off, without zeros before them.
func cutNumber(s string) (number, rest string) {
	end := strings.IndexFunc(s, func(c rune) bool { return c > unicode.MaxASCII || !unicode.IsDigit(c) })
	if end < 0 {
		end = len(s)
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}

// Pack returns what is known of the files of a guest in the form in which a helper finds it: to be put behind an initrd.
func Pack(known *probe.Files, to io.Writer) error {
	path, content := known.Index()
	a := &archive{to: to}
	if len(content) > 0 {
		dir := strings.TrimPrefix(protocol.IndexDir, "/")
		a.dir(dir)
		a.file(dir+"/"+filepath.Base(path), 0o600, content)
	}
	return a.close()
}
