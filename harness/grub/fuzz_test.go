package grub_test

import (
	"testing"

	"github.com/patchlab/patchlab/harness/grub"
)

func FuzzGrub(f *testing.F) {
	f.Add(menuFile(f), []byte("saved_entry=a>b\n"))
	f.Add([]byte("}\n}\nmenuentry {\nsubmenu a {\nlinux\n"), []byte("next_entry=>\n"))
	f.Fuzz(func(t *testing.T, config, environment []byte) {
		entry, err := grub.Parse(config).Choose(grub.ParseEnvironment(environment))
		if err == nil && entry.Linux == "" {
			t.Errorf("an entry without a kernel: %+v", entry)
		}
		for _, place := range grub.Parse(config).Places() {
			if place.Entry() == nil || len(place.Rows()) == 0 {
				t.Errorf("a place of nothing: %v", place)
			}
		}
	})
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte("\x1b[2;24HGNU GRUB\x1b[5;3H*Debian\x1b[19;2HUse the keys to select which entry is highlighted."))
	f.Fuzz(func(t *testing.T, received []byte) {
		for _, text := range [][]byte{received, grub.Render(received)} {
			if screen := grub.ReadScreen(text); screen.Chosen >= len(screen.Rows) {
				t.Errorf("row %d of %d is highlighted", screen.Chosen, len(screen.Rows))
			}
		}
	})
}
