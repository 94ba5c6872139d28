package commandlog_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/patchlab/patchlab/harness/guest/commandlog"
)

func FuzzQuote(f *testing.F) {
	f.Add("a \"b\"\n\x1b[31m\xff\u202e", 5)
	f.Fuzz(func(t *testing.T, text string, most int) {
		line := commandlog.Quote(text, max(0, most%5000))
		if !utf8.ValidString(line) || strings.IndexFunc(line, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) >= 0 {
			t.Errorf("%q became %q", text, line)
		}
	})
}
