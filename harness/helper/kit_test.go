package helper

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/probe/ext4"
)

// disk makes a file system, content by path; what begins with "-> " is a link.
func disk(t *testing.T, content map[string]string) *ext4.FS {
	t.Helper()
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "disk")
	for path, text := range content {
		path = filepath.Join(dir, path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, isLink := strings.CutPrefix(text, "-> "); isLink {
			err = errors.Join(err, os.Symlink(target, path))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(text), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	if output, err := exec.CommandContext(t.Context(), "mke2fs", "-q", "-F", "-t", "ext4", "-d", dir, file, "16M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, output)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found, err := ext4.Open(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// aSystem has two kernels, of which the older one's name sorts last.
func aSystem() map[string]string {
	const modules = "/usr/lib/modules/6.1.0-50/"
	return map[string]string{
		"/lib": "-> usr/lib", "/boot/vmlinuz-6.1.0-9": "old", "/boot/vmlinuz-6.1.0-50": "new", "/boot/vmlinuz-6.1.0-51": "its modules are gone",
		"/usr/lib/modules/6.1.0-9/modules.dep": "",
		modules + "modules.dep": "drivers/virtio_pci.ko: drivers/virtio_ring.ko drivers/virtio.ko\ndrivers/virtio_ring.ko: drivers/virtio.ko\n" +
			"drivers/virtio.ko:\nblock/virtio-blk.ko.xz: drivers/virtio.ko\nfs/ext4.ko: crypto/none.ko fs/jbd2.ko\nfs/jbd2.ko:\ncrypto/none.ko:\n" +
			"crypto/crc32c_generic.ko:\nsound/noise.ko: fs/ext4.ko\n",
		modules + "modules.builtin":       "kernel/drivers/char/virtio_console.ko\n",
		modules + "drivers/virtio_pci.ko": "pci", modules + "drivers/virtio_ring.ko": "ring", modules + "drivers/virtio.ko": "virtio",
		modules + "block/virtio-blk.ko.xz": "blk", modules + "fs/ext4.ko": "ext4", modules + "fs/jbd2.ko": "jbd2", modules + "crypto/none.ko": "none",
		modules + "crypto/crc32c_generic.ko": "crc",
	}
}

// unpack reads archives one after the other, independently of how they are written.
func unpack(t *testing.T, content []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	field := func(at, n int) int {
		value, err := strconv.ParseUint(string(content[at+6+8*n:at+14+8*n]), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return int(value)
	}
	align := func(n int) int { return (n + 3) / 4 * 4 }
	for at := 0; at < len(content); {
		if magic := string(content[at : at+6]); magic != "070701" || at%4 != 0 {
			t.Fatalf("at %d: %q", at, magic)
		}
		mode, size, nameSize := field(at, 1), field(at, 6), field(at, 11)
		name := string(content[at+110 : at+110+nameSize-1])
		begin := at + align(110+nameSize)
		if name != "TRAILER!!!" {
			found[name] = fmt.Sprintf("%o %s", mode, content[begin:begin+size])
		}
		at = begin + align(size)
	}
	return found
}

func TestAKitIsTheNewestKernelWithWhatItNeeds(t *testing.T) {
	made, err := Make(disk(t, aSystem()), []byte("the probe"))
	if err != nil {
		t.Fatal(err)
	}
	if string(made.Kernel) != "new" {
		t.Errorf("the kernel is %q", made.Kernel)
	}
	var packed bytes.Buffer
	packed.Write(made.Initrd)
	if err := Pack(nil, &packed); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"dev": "40755 ", "proc": "40755 ", "sys": "40755 ", "modules": "40755 ", "dev/console": "20600 ", "init": "100755 the probe",
		"modules/00-crc32c_generic.ko": "100644 crc", "modules/01-virtio.ko": "100644 virtio", "modules/02-virtio_ring.ko": "100644 ring",
		"modules/03-virtio_pci.ko": "100644 pci", "modules/04-virtio-blk.ko.xz": "100644 blk", "modules/05-none.ko": "100644 none",
		"modules/06-jbd2.ko": "100644 jbd2", "modules/07-ext4.ko": "100644 ext4",
	}
	if diff := cmp.Diff(want, unpack(t, packed.Bytes())); diff != "" {
		t.Error(diff)
	}
}

func TestAnImageWithoutWhatAHelperNeedsIsToldAsSuch(t *testing.T) {
	system := aSystem()
	system["/usr/lib/modules/6.1.0-50/modules.builtin"] = ""
	if _, err := Make(disk(t, system), nil); err == nil || !strings.Contains(err.Error(), "no module virtio_console") {
		t.Errorf("without a driver: %v", err)
	}
	if _, err := Make(disk(t, map[string]string{"/boot/vmlinuz-6.1": "kernel", "/lib/modules/6.2/modules.dep": ""}), nil); !errors.Is(err, errNoKernel) {
		t.Errorf("a kernel without modules: %v", err)
	}
	if _, err := Make(disk(t, map[string]string{"/etc/passwd": ""}), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without /boot: %v", err)
	}
}

func TestReleasesAreOrderedByTheirNumbers(t *testing.T) {
	want := []string{"5.10.0-30-amd64", "6.1.0-9-amd64", "6.1.0-50-amd64", "6.1.0-50-cloud-amd64", "6.12.9", "6.12.10+bpo-amd64", "10.0"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareReleases)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzLoadOrder(f *testing.F) {
	f.Add([]byte("a.ko: a.ko b.ko\nb.ko: a.ko\n"), []byte("ext4.ko\n"))
	f.Fuzz(func(_ *testing.T, dep, builtin []byte) { _, _ = loadOrder(dep, builtin) })
}
