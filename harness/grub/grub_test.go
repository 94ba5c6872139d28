package grub_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/grub"
)

// menuFile is what update-grub writes, shortened.
func menuFile(tb testing.TB) []byte {
	tb.Helper()
	content, err := os.ReadFile("testdata/grub.cfg")
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

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
		config := bytes.Replace(menuFile(t), []byte("DEFAULT"), []byte(c.standard), 1)
		entry, err := grub.Parse(config).Choose(grub.ParseEnvironment([]byte(c.environment)))
		if err != nil || entry.Linux != c.want {
			t.Errorf("%s: got %+v, %v; want %s", c.name, entry, err, c.want)
		}
	}
	if _, err := grub.Parse([]byte("blscfg\n")).Choose(nil); !errors.Is(err, grub.ErrNoEntry) {
		t.Errorf("a configuration without entries: %v, want ErrNoEntry", err)
	}
}

func TestAPlaceIsNamedAsGrubRebootWantsIt(t *testing.T) {
	config := append(menuFile(t), []byte("submenu 'a > b' {\n menuentry 'c' {\n linux /c\n }\n}\n")...)
	type place struct {
		Reference, Linux string
		Rows             []int
	}
	var got []place
	for _, p := range grub.Parse(config).Places() {
		got = append(got, place{p.Reference(), p.Entry().Linux, p.Rows()})
	}
	want := []place{
		{"simple", "/boot/vmlinuz-6.1.0-50-amd64", []int{0}},
		{"advanced>new", "/vmlinuz-6.1.0-50-amd64", []int{1, 0}},
		{"advanced>old", "/vmlinuz-6.1.0-44-amd64", []int{1, 1}},
		{"memtest", "/memtest.bin", []int{2}},
		{"a >> b>c", "/c", []int{3, 0}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestThePlaceOfAKernelIsNotThatOfItsRecovery(t *testing.T) {
	config := []byte("menuentry 'recovery' --id r {\n linux /boot/vmlinuz-6.1 root=/dev/vda1 ro single\n}\n" +
		"menuentry 'good' --id g {\n linux /boot/vmlinuz-6.1 root=/dev/vda1 ro\n}\n")
	if place, found := grub.Parse(config).Kernel("6.1"); !found || place.Reference() != "g" {
		t.Errorf("got %v, %v; want g", place, found)
	}
	if place, found := grub.Parse(config).Kernel("6.2"); found {
		t.Errorf("a kernel that is not in the menu is at %v", place)
	}
}
