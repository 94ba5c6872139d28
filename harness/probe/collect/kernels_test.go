package collect

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
)

// grubConfig is what update-grub writes, shortened.
const grubConfig = `# generated
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="DEFAULT"
fi
function gfxmode {
	set gfxpayload="${1}"
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'simple' {
	if [ x$grub_platform = xxen ]; then insmod xzio; fi
	linux	/boot/vmlinuz-6.1.0-50-amd64 root=UUID=d5 ro  quiet
	initrd	/boot/initrd.img-6.1.0-50-amd64
}
submenu 'Advanced options' $menuentry_id_option 'advanced' {
	menuentry 'Linux 6.1.0-50' --id 'new' {
		linux /vmlinuz-6.1.0-50-amd64 root=UUID=d5 ro quiet
		initrd /microcode.cpio /initrd.img-6.1.0-50-amd64
	}
	menuentry 'Linux 6.1.0-44' --id 'old' {
		linux /vmlinuz-6.1.0-44-amd64 root=UUID=d5 ro quiet
		initrd /initrd.img-6.1.0-44-amd64
	}
}
menuentry 'Memory test' --id memtest {
	linux16 /memtest.bin
}
`

func TestTheDefaultKernelIsWhatGrubWouldStart(t *testing.T) {
	for _, c := range []struct {
		name, standard, environment, want string
	}{
		{"the first entry", "0", "", "/boot/vmlinuz-6.1.0-50-amd64"},
		{"an entry of a submenu by id", "advanced>old", "", "/vmlinuz-6.1.0-44-amd64"},
		{"an entry of a submenu by number", "1>1", "", "/vmlinuz-6.1.0-44-amd64"},
		{"an entry of a submenu by title", "Advanced options>Linux 6.1.0-44", "", "/vmlinuz-6.1.0-44-amd64"},
		{"a submenu alone means its first entry", "1", "", "/vmlinuz-6.1.0-50-amd64"},
		{"the saved entry", "${saved_entry}", "# GRUB Environment Block\nsaved_entry=memtest\n####", "/memtest.bin"},
		{"no saved entry yet", "${saved_entry}", "# GRUB Environment Block\n####", "/boot/vmlinuz-6.1.0-50-amd64"},
		{"an entry for the next boot only", "0", "next_entry=advanced>old\n", "/vmlinuz-6.1.0-44-amd64"},
		{"an entry that is gone: the first", "advanced>gone", "", "/boot/vmlinuz-6.1.0-50-amd64"},
		{"a number beyond the menu: the first", "17", "", "/boot/vmlinuz-6.1.0-50-amd64"},
	} {
		config := []byte(strings.Replace(grubConfig, "DEFAULT", c.standard, 1))
		entry, err := parseGrub(config).choose(parseGrubEnv([]byte(c.environment)))
		if err != nil || entry.linux != c.want {
			t.Errorf("%s: got %+v, %v; want %s", c.name, entry, err, c.want)
		}
	}
	if _, err := parseGrub([]byte("blscfg\n")).choose(nil); !errors.Is(err, errNoEntry) {
		t.Errorf("a configuration without entries: %v, want errNoEntry", err)
	}
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
		"/boot/grub/grub.cfg":                   strings.Replace(grubConfig, "DEFAULT", "advanced>new", 1),
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
