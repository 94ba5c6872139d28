package protocol

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/patchlab/patchlab/harness/fact"
)

// Clean makes a guest's string harmless in a terminal, a log line or a report: control characters, and the invisible ones
// that reorder text, become escapes like \x1b, and invalid UTF-8 becomes U+FFFD.
func Clean(s string) string { return clean(s, "") }

// CleanText is [Clean] for text of several lines: newlines and tabs stay.
func CleanText(s string) string { return clean(s, "\n\t") }

func clean(s, keep string) string {
	harmless := func(r rune) bool { return unicode.IsPrint(r) || strings.ContainsRune(keep, r) }
	if plain(s, keep) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"), harmless(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// plain is the cheap test that nearly every string passes: printable ASCII. Under emulation the difference is felt.
func plain(s, keep string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c > '~') && strings.IndexByte(keep, c) < 0 {
			return false
		}
	}
	return true
}

// CleanWord is [Clean] for a word of a fact's name that consists of several: spaces are escaped too.
func CleanWord(s string) string { return strings.ReplaceAll(Clean(s), " ", `\x20`) }

// CleanFact cleans a fact's name, its attributes and their names, and bounds its name. Attributes without a value are dropped: what does not
// apply is absent.
func CleanFact(f fact.Fact) fact.Fact {
	attributes := make(map[string]string, len(f.Attributes))
	for key, value := range f.Attributes {
		switch {
		case value == "":
		case key == "text":
			attributes[key] = CleanText(value)
		default:
			attributes[Clean(key)] = Clean(value)
		}
	}
	name := Clean(f.Name)
	if len(name) > MaxName {
		name = strings.ToValidUTF8(name[:MaxName], "")
	}
	return fact.Fact{Kind: fact.Kind(Clean(string(f.Kind))), Name: name, Attributes: attributes}
}
