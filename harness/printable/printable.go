// Package printable makes text that came from a guest safe to show: without control characters, terminal escape
// sequences and direction marks, and bounded.
package printable

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escapes are terminal control sequences: CSI (colours, cursor), OSC (titles, links) with its text, and two-byte ones.
var escapes = regexp.MustCompile("\x1b(?:\\[[0-9:;<=>?]*[ -/]*[@-~]|[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[ -/]*[0-~])")

// Line returns text as one line of at most most runes; what was cut off is shown as an ellipsis. Line breaks and tabs
// become spaces, escape sequences go, every other character that a terminal would act on becomes U+FFFD.
func Line(text string, most int) string {
	const longest = 4 // bytes in a rune: no more of a huge text is looked at than can be shown, with room for escapes
	if limit := longest*most + 1<<16; len(text) > limit {
		text = text[:limit]
	}
	text = strings.ToValidUTF8(escapes.ReplaceAllString(text, ""), "\uFFFD")
	text = strings.TrimRight(strings.Map(shown, text), " ")
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	runes := []rune(text)
	return string(runes[:max(0, most-1)]) + "…"
}

// Lines splits text into clean lines: at most count of them, of most runes each. The last one says how many were left out.
func Lines(text string, count, most int) []string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines := make([]string, 0, min(count, len(all)))
	for i, line := range all {
		if i == count-1 && len(all) > count {
			return append(lines, "…")
		}
		lines = append(lines, Line(strings.TrimSuffix(line, "\r"), most))
	}
	return lines
}

func shown(r rune) rune {
	switch {
	case r == '\n' || r == '\r' || r == '\t' || r == '\u2028' || r == '\u2029':
		return ' '
	case unicode.IsControl(r) || unicode.Is(unicode.Cf, r): // Cf: direction overrides, zero-width characters
		return utf8.RuneError
	default:
		return r
	}
}
