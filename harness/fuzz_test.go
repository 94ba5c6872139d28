package harness

import (
	"path/filepath"
	"strings"
	"testing"
)

// FuzzSafeName makes names for files of the host of a guest's paths.
func FuzzSafeName(f *testing.F) {
	f.Add("/etc/../motd")
	f.Add("/etc/nginx/\x00/..\n\u202e")
	f.Add(strings.Repeat("/..", 200))
	f.Fuzz(func(t *testing.T, path string) {
		name := safeName(path)
		if filepath.Base(name) != name || !filepath.IsLocal(name) || strings.HasPrefix(name, ".") || len(name) > 200 {
			t.Errorf("%q became the name %q", path, name)
		}
		if word := jobName(path); strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
			t.Errorf("%q became the unit %q", path, word)
		}
	})
}
