package boot

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzConsole holds the reading of a console to what a report may show.
func FuzzConsole(f *testing.F) {
	f.Add([]byte("GRUB loading.\r\nLoading Linux 6.1 ...\r\n[    1.0] Linux version 6.1\n[FAILED] Failed to mount /srv.\nweb login: "))
	f.Add([]byte("\x1b[0;31mKernel panic - not syncing\x1b[0m: \xff\xfe\u202e\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		seen := Classify(content)
		if seen.Stage == "" || len(seen.Lines) > mostLines {
			t.Errorf("stage %q, %d lines", seen.Stage, len(seen.Lines))
		}
		for _, line := range append(seen.Lines, seen.Cause) {
			if !utf8.ValidString(line) || utf8.RuneCountInString(line) > longestLine || strings.IndexFunc(line, unicode.IsControl) >= 0 {
				t.Errorf("the line %q would reach a terminal", line)
			}
		}
	})
}
