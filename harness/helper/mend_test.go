package helper

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// opened is a system that answers what it is asked when something is to be mended.
type opened struct {
	table, listing, menu, environment string
	there                             []string // disks
	asked                             []string
}

func (o *opened) shell(_ context.Context, line string) (string, error) {
	o.asked = append(o.asked, line)
	switch {
	case line == "cat /etc/fstab":
		return o.table, nil
	case strings.HasPrefix(line, "if command -v findfs "):
		for _, disk := range o.there {
			if strings.Contains(line, quote(disk)) {
				return "", nil
			}
		}
		return "gone\n", nil
	case strings.HasPrefix(line, "for k in /boot/vmlinuz-*"):
		return o.listing, nil
	case strings.HasSuffix(line, "cat /boot/grub/grub.cfg"):
		return o.menu, nil
	case strings.HasSuffix(line, "cat /boot/grub/grubenv"):
		return o.environment, nil
	}
	return "", errors.New("it is asked " + line)
}

const goodMenu = "menuentry 'Linux' {\n\tlinux /boot/vmlinuz-6.1 root=UUID=1\n\tinitrd /boot/initrd.img-6.1\n}\n"

// healthy is a system of which nothing keeps from booting.
func healthy() *opened {
	return &opened{
		table: "# the table\n\nUUID=1 / ext4 errors=remount-ro 0 1\nUUID=2 /boot ext4 defaults 0 2\ntmpfs /tmp tmpfs defaults 0 0\n" +
			"UUID=9 /media ext4 nofail 0 0\nUUID=8 /backup ext4 defaults,noauto 0 0\nUUID=7 none swap sw 0 0\n",
		listing: "6.1 modules initrd\n", menu: goodMenu, there: []string{"UUID=1", "UUID=2"},
	}
}

func TestWhatKeepsASystemFromBootingIsMended(t *testing.T) {
	tests := []struct {
		name   string
		change func(*opened)
		want   []Mend
	}{
		{"nothing", func(*opened) {}, nil},
		{"a disk whose name would leave its quotes", func(o *opened) { o.table += "UUID=x';reboot' /srv/data xfs\n" }, []Mend{
			{"line 9 of /etc/fstab mounts /srv/data, and no disk answers to UUID=x';reboot'", "sed -i '9s/^/#/' /etc/fstab"},
		}},
		{"a mistyped disk", func(o *opened) { o.table += "LABEL=dta /srv/data ext4 defaults 0 2\n" }, []Mend{
			{"line 9 of /etc/fstab mounts /srv/data, and no disk answers to LABEL=dta", "sed -i '9s/^/#/' /etc/fstab"},
		}},
		{"a missing initrd, which the menu knows of", func(o *opened) { o.listing = "6.1 modules -\n" }, []Mend{
			{"kernel 6.1 has no initrd", "update-initramfs -c -k '6.1'"},
		}},
		{"a missing initrd, which the menu leaves out", func(o *opened) {
			o.listing, o.menu = "6.1 modules -\n", "menuentry 'Linux' {\nlinux /vmlinuz-6.1\n}\n"
		}, []Mend{
			{"kernel 6.1 has no initrd", "update-initramfs -c -k '6.1'"},
			{"the boot menu starts vmlinuz-6.1 without its initrd", "update-grub"},
		}},
		{"an empty menu", func(o *opened) { o.menu = "" }, []Mend{{"the boot menu starts nothing", "update-grub"}}},
		{"a kernel that is gone", func(o *opened) { o.listing = "6.2 modules -\n" }, []Mend{
			{"kernel 6.2 has no initrd", "update-initramfs -c -k '6.2'"},
			{"the boot menu starts vmlinuz-6.1, which is not there", "update-grub"},
		}},
		{"modules that are gone, for which nothing helps", func(o *opened) { o.listing = "6.1 - initrd\n" }, nil},
		{"no kernel at all", func(o *opened) { o.listing, o.menu = "", "" }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			system := healthy()
			tt.change(system)
			got, err := Mends(t.Context(), system.shell)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(system.asked, func(line string) bool { return strings.Contains(line, "x';reboot") }) {
				t.Errorf("it was asked %q", system.asked)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNothingIsMendedThatCannotBeLookedAt(t *testing.T) {
	broken := errors.New("no shell")
	_, err := Mends(t.Context(), func(context.Context, string) (string, error) { return "", broken })
	if !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}
