//go:build vmtest

package image_test

import (
	"crypto/sha256"
	"os"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/images"
)

// TestDebian12EFI builds the real image, or takes the one in PATCHLAB_IMAGES_DIR, and cuts the power of a clone whose firmware
// has been told something.
func TestDebian12EFI(t *testing.T) {
	builder := newBuilder(t)
	m, err := manifest.Load(images.FS, "debian-12-efi")
	if err != nil {
		t.Fatal(err)
	}
	built, err := builder.Build(t.Context(), m, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("image %s, %d MiB, seconds %v", built.ShortDigest(), built.DiskSize>>20, built.Seconds)
	before := hash(t, built.Variables)
	domain, key := defineClone(t, builder, built)
	conn := bootClone(t, builder, built, domain, key)
	for name, check := range map[string]struct{ line, want string }{
		"nothing has failed":                 {"systemctl is-system-running --wait", "running"},
		"it was started by EFI firmware":     {"test -d /sys/firmware/efi/efivars && echo yes", "yes"},
		"the fallback path has a loader":     {"test -s /boot/efi/EFI/BOOT/BOOTX64.EFI && echo yes", "yes"},
		"the system partition is mounted":    {"findmnt -no FSTYPE,OPTIONS /boot/efi | grep -o '^vfat\\|fmask=0077' | tr '\\n' ' '", "vfat fmask=0077"},
		"the firmware was told of no loader": {"efibootmgr | grep -ci debian", "0"},
		"a GPT with two partitions":          {"lsblk -no PTTYPE /dev/vda1 /dev/vda2 | tr '\\n' ' '", "gpt gpt"},
		"updates of the loader do the same":  {"debconf-show grub-efi-amd64 2>/dev/null | grep -c 'force_efi_extra_removable: true\\|update_nvram: false'", "2"},
		"nothing of another boot loader":     {"debconf-show grub-pc 2>/dev/null; ls /var/lib/dpkg/info/grub-pc.* 2>/dev/null", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t, conn, check.line); got != check.want {
				t.Errorf("%s\nsays %q\nwant %q", check.line, got, check.want)
			}
		})
	}
	entry := `efibootmgr --quiet --create --label "Told by the test" --loader '\EFI\BOOT\BOOTX64.EFI' --disk /dev/vda --part 1 && sync`
	if got := run(t, conn, entry+" && echo told"); got != "told" {
		t.Fatalf("efibootmgr says %q", got)
	}
	if err := domain.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := bootClone(t, builder, built, domain, key)
	if got := run(t, again, "efibootmgr"); !strings.Contains(got, "Told by the test") {
		t.Errorf("the firmware has forgotten over a power cut:\n%s", got)
	}
	if hash(t, built.Variables) != before {
		t.Error("the image's variables have changed")
	}
}

func hash(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(content)
}
