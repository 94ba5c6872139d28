package grub_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/grub"
)

func TestAnEntryIsReadWithAllItNames(t *testing.T) {
	t.Parallel()
	menu := grub.Parse(menuFile(t))
	want := []*grub.Entry{
		{
			Title: "Debian GNU/Linux", ID: "simple", Search: "d5", Linux: "/boot/vmlinuz-6.1.0-50-amd64",
			Arguments: "root=UUID=d5 ro quiet", Initrd: "/boot/initrd.img-6.1.0-50-amd64",
			Initrds: []string{"/boot/initrd.img-6.1.0-50-amd64"},
		},
		{
			Title: "Linux 6.1.0-50", ID: "new", Linux: "/vmlinuz-6.1.0-50-amd64", Arguments: "root=UUID=d5 ro quiet",
			Initrd:  "/initrd.img-6.1.0-50-amd64",
			Initrds: []string{"/microcode.cpio", "/initrd.img-6.1.0-50-amd64"},
		},
		{
			Title: "Linux 6.1.0-44", ID: "old", Linux: "/vmlinuz-6.1.0-44-amd64", Arguments: "root=UUID=d5 ro quiet",
			Initrd:  "/initrd.img-6.1.0-44-amd64",
			Initrds: []string{"/initrd.img-6.1.0-44-amd64"},
		},
		{Title: "Memory test", ID: "memtest", Linux: "/memtest.bin"},
	}
	if diff := cmp.Diff(want, menu.Linux()); diff != "" {
		t.Error(diff)
	}
	if len(menu.Faults) > 0 {
		t.Errorf("faults are %q", menu.Faults)
	}
}

// The recorded ones are those of Debian 12 and 13 with BIOS and EFI firmware.
func TestWhatUpdateGrubWritesIsReadWithoutAFault(t *testing.T) {
	t.Parallel()
	for _, name := range recorded(t) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		menu := grub.Parse(content)
		entry, err := menu.Choose(nil)
		if err != nil || len(menu.Faults) > 0 || entry.Search == "" || len(entry.Initrds) != 1 || len(menu.Linux()) != 3 {
			t.Errorf("%s: %v, faults %q, %d entries, default %+v", name, err, menu.Faults, len(menu.Linux()), entry)
		}
	}
}

func TestAConfigurationThatWasCutOffHasAFault(t *testing.T) {
	t.Parallel()
	for _, name := range recorded(t) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		cut := bytes.Index(content, []byte("initrd")) // within the first entry
		if menu := grub.Parse(content[:cut]); len(menu.Faults) == 0 {
			t.Errorf("%s, cut off after %d bytes, is as good as whole", name, cut)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for script, want := range map[string][]string{
		"menuentry 'a' {\nlinux /a\n":            {`the menuentry "a" is not closed by }`},
		"if true; then\nmenuentry a { linux b }": {"an if is not closed by fi"},
		"}\nmenuentry a {\n linux b\n}\n":        {"} closes nothing"},
		"if true; then\n}\nfi\n":                 {"} closes nothing"},
		"set default='0\n":                       {"a quoted text does not end"},
		"for i in a b; do\necho \"}\"\ndone\n":   nil,
		"menuentry a { linux b }; echo \\\" x":   nil,
		"echo fi # }\n echo '}' \"fi\"":          nil,
		"function f {\n true\n}\nf { }\n":        nil,
	} {
		if diff := cmp.Diff(want, grub.Parse([]byte(script)).Faults); diff != "" {
			t.Errorf("%q: %s", script, diff)
		}
	}
}

func recorded(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/debian-*.cfg")
	if err != nil || len(names) == 0 {
		t.Fatalf("no recorded configurations: %v", err)
	}
	return names
}
