package printable_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/printable"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		most int
		want string
	}{
		"plain text stays":               {"nginx.service läuft", 40, "nginx.service läuft"},
		"line breaks and tabs":           {"a\r\nb\tc\n", 40, "a  b c"},
		"colours":                        {"\x1b[1;31mFAILED\x1b[0m", 40, "FAILED"},
		"a window title":                 {"\x1b]0;owned\x07ok", 40, "ok"},
		"a title without end":            {"\x1b]0;owned", 40, ""},
		"the screen cleared":             {"\x1b[2J\x1b[Hok\x1bc", 40, "ok"},
		"a lone escape and a bell":       {"a\x1b", 40, "a\uFFFD"},
		"8-bit control":                  {"a\u009b2Jb", 40, "a\uFFFD2Jb"},
		"direction override":             {"a\u202Eb", 40, "a\uFFFDb"},
		"bytes that are not UTF-8":       {"a\xff\xfeb", 40, "a\uFFFDb"},
		"too long":                       {"abcdefgh", 5, "abcd…"},
		"exactly fitting":                {"abcde", 5, "abcde"},
		"a megabyte of escape sequences": {strings.Repeat("\x1b[0m", 1<<18), 5, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := printable.Line(test.text, test.most); got != test.want {
				t.Errorf("Line(%q) = %q, want %q", test.text[:min(40, len(test.text))], got, test.want)
			}
		})
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	got := printable.Lines("one\r\ntwo\x1b[0m\nthree\nfour\n", 3, 10)
	if diff := cmp.Diff([]string{"one", "two", "…"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("\x1b[31mx\x1b]8;;http://x\x1b\\y", 10)
	f.Fuzz(func(t *testing.T, text string, most int) {
		most = min(max(most, 0), 200)
		got := printable.Line(text, most)
		if n := utf8.RuneCountInString(got); n > most && n > 1 {
			t.Errorf("%d runes, want at most %d", n, most)
		}
		for _, r := range got {
			if unicode.IsControl(r) {
				t.Errorf("control character %q in %q", r, got)
			}
		}
	})
}
