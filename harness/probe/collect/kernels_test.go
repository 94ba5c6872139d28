package collect

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
)

// grubConfig is what update-grub writes, shortened, with the entry that starts by itself.
func grubConfig(t *testing.T, standard string) string {
	t.Helper()
	content, err := os.ReadFile("../../grub/testdata/grub.cfg")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(content), "DEFAULT", standard, 1)
}

func TestKernelsRunningInstalledAndDefault(t *testing.T) {
	src := NewSource(tree(t, map[string]string{
		"/var/lib/dpkg/status":                  "Package: linux-image-a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n",
		"/var/lib/dpkg/info/linux-image-a.list": "/.\n/boot\n/boot/vmlinuz-6.1.0-50-amd64\n",
		"/proc/sys/kernel/osrelease":            "6.1.0-44-amd64\n",
		"/proc/cmdline":                         "quiet\n",
		"/boot/vmlinuz-6.1.0-50-amd64":          "",
		"/boot/initrd.img-6.1.0-50-amd64":       "",
		"/boot/vmlinuz-6.1.0-44-amd64":          "",
		"/boot/grub/grub.cfg":                   grubConfig(t, "advanced>new"),
	}), nil, 0)
	want := []fact.Fact{
		named("kernel", "default", "release", "6.1.0-50-amd64", "image", "/boot/vmlinuz-6.1.0-50-amd64",
			"initrd", "/boot/initrd.img-6.1.0-50-amd64", "cmdline", "root=UUID=d5 ro quiet", "entry", "Linux 6.1.0-50"),
		named("kernel", "installed:6.1.0-44-amd64", "release", "6.1.0-44-amd64", "image", "/boot/vmlinuz-6.1.0-44-amd64"),
		named("kernel", "installed:6.1.0-50-amd64", "release", "6.1.0-50-amd64", "image", "/boot/vmlinuz-6.1.0-50-amd64",
			"initrd", "/boot/initrd.img-6.1.0-50-amd64", "package", "linux-image-a:amd64"),
		named("kernel", "running", "release", "6.1.0-44-amd64", "cmdline", "quiet"),
	}
	if diff := cmp.Diff(want, collected(t, src, kernels)); diff != "" {
		t.Error(diff)
	}
}

func TestAMachineWithoutGrubSaysThatTheDefaultIsUnknown(t *testing.T) {
	src := NewSource(tree(t, map[string]string{"/proc/sys/kernel/osrelease": "6.1\n", "/proc/cmdline": "quiet\n"}), nil, 0)
	facts, err := kernels(t.Context(), src)
	if len(facts) != 1 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, %v; want the running kernel and an error", facts, err)
	}
}
