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
