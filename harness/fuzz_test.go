package harness

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
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

// FuzzReach reads what a guest says of its own network.
func FuzzReach(f *testing.F) {
	f.Add([]byte("greets\nlo UNKNOWN 00:00:00:00:00:00 <LOOPBACK,UP>\neth0 UP 10.0.2.15/24\n"))
	f.Add([]byte("\x1b[2J\r\n\xff"))
	f.Fuzz(func(t *testing.T, output []byte) {
		found := parseReach(output)
		if found.SSH != greets && found.SSH != silent && found.SSH != unknown {
			t.Errorf("ssh is %q", found.SSH)
		}
		for _, line := range found.Network {
			if !utf8.ValidString(line) || strings.IndexFunc(line, unicode.IsControl) >= 0 {
				t.Errorf("the line %q would reach a terminal", line)
			}
		}
		found.unplugged(reach{})
		if whose(reach{}, found, errors.New("no answer")).reason == "" {
			t.Error("nobody's fault")
		}
	})
}
