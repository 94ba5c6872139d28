package protocol_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

func TestCleanLeavesWordsAndEscapesTheRest(t *testing.T) {
	for in, want := range map[string]string{
		"/etc/nginx/nginx.conf": "/etc/nginx/nginx.conf",
		"Größe 漢字":              "Größe 漢字",
		"a\nb\tc":               `a\x0ab\x09c`,
		"\x1b[31mred\x1b]0;t\a": `\x1b[31mred\x1b]0;t\x07`,
		"bad\xff\xfebytes":      "bad\uFFFD\uFFFDbytes",
		"real \uFFFD stays":     "real \uFFFD stays",
		"\u202egnp.exe":         `\u202egnp.exe`,
		"\u200bhidden":          `\u200bhidden`,
		"c1 \u009b control":     `c1 \u009b control`,
		"delete \x7f":           `delete \x7f`,
	} {
		if got := protocol.Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got, want := protocol.CleanText("a\n\tb\x1b"), "a\n\tb\\x1b"; got != want {
		t.Errorf("CleanText = %q, want %q", got, want)
	}
	if got, want := protocol.CleanWord("a b"), `a\x20b`; got != want {
		t.Errorf("CleanWord = %q, want %q", got, want)
	}
}

func TestCleanFactDropsWhatIsEmptyAndBoundsTheName(t *testing.T) {
	got := protocol.CleanFact(fact.Fact{Kind: "fi\nle", Name: strings.Repeat("ä", protocol.MaxName), Attributes: map[string]string{
		"empty": "", "text": "one\ntwo\x1b", "owner": "a\nb", "\x1b": "name",
	}})
	want := fact.Fact{Kind: `fi\x0ale`, Name: strings.Repeat("ä", protocol.MaxName/2), Attributes: map[string]string{
		"text": "one\ntwo\\x1b", "owner": `a\x0ab`, `\x1b`: "name",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := protocol.Clean(s)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\n\x1b\a\r\x00") {
			t.Errorf("Clean(%q) = %q", s, got)
		}
		if again := protocol.Clean(got); again != got {
			t.Errorf("Clean is not stable: %q, then %q", got, again)
		}
	})
}
