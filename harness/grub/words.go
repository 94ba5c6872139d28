package grub

import (
	"bytes"
	"slices"
	"strings"
)

// word of a statement, without its quotes.
type word struct {
	text   string
	quoted bool // in part at least, so that it is no keyword
}

func (w word) is(keywords ...string) bool { return !w.quoted && slices.Contains(keywords, w.text) }

func texts(words []word) []string {
	found := make([]string, 0, len(words))
	for _, w := range words {
		if !w.is("}") {
			found = append(found, w.text)
		}
	}
	return found
}

// splitter splits a script as a shell does, as far as quotes, comments and the ends of statements go.
type splitter struct {
	statements [][]word
	words      []word
	text       strings.Builder
	inWord     bool
	quoted     bool
}

// split returns the statements, and what is wrong with their quotes.
func split(config []byte) (statements [][]word, fault string) {
	var s splitter
	var quote rune
	escaped, comment := false, false
	for _, c := range string(config) {
		switch {
		case comment:
			if comment = c != '\n'; !comment {
				s.endStatement()
			}
		case escaped:
			if escaped = false; c != '\n' { // else the line goes on
				s.add(c)
			}
		case c == '\\' && quote != '\'':
			escaped = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			s.add(c)
		case c == '\'' || c == '"':
			quote, s.inWord, s.quoted = c, true, true
		case c == '#' && !s.inWord:
			comment = true
		case c == ' ' || c == '\t' || c == '\r':
			s.endWord()
		case c == '\n' || c == ';':
			s.endStatement()
		default:
			s.add(c)
			// A brace ends a statement, so that what stands behind it on the same line is the next one.
			if c == '{' && s.text.String() == "{" {
				s.endStatement()
			}
		}
	}
	s.endStatement()
	if quote != 0 {
		return s.statements, "a quoted text does not end"
	}
	return s.statements, ""
}

func (s *splitter) add(c rune) {
	s.text.WriteRune(c)
	s.inWord = true
}

func (s *splitter) endWord() {
	if s.inWord {
		s.words = append(s.words, word{s.text.String(), s.quoted})
		s.text.Reset()
		s.inWord, s.quoted = false, false
	}
}

func (s *splitter) endStatement() {
	s.endWord()
	if len(s.words) > 0 {
		s.statements = append(s.statements, s.words)
		s.words = nil
	}
}

// ParseEnvironment reads the environment block, grubenv: lines of NAME=VALUE, padded with number signs.
func ParseEnvironment(block []byte) map[string]string {
	environment := map[string]string{}
	for line := range bytes.Lines(block) {
		key, value, found := strings.Cut(strings.TrimRight(string(line), "\n"), "=")
		if found && !strings.HasPrefix(key, "#") {
			environment[key] = value
		}
	}
	return environment
}
