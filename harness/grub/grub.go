// Package grub reads GRUB's configuration as far as it says what its menu offers, and what starts when nobody touches a key.
package grub

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Menu is what is understood of grub.cfg: the entries, and what `set default` says. The rest of the language is ignored, which
// suffices for what grub-mkconfig writes and is told where it does not.
type Menu struct {
	Entries []*Entry
	Default string // for a boot without a next_entry, as it is written: a reference, or ${saved_entry}
}

// Entry is one line of the menu. Its paths are those of the file system that GRUB reads them from.
type Entry struct {
	Title, ID string
	Linux     string   // the kernel's file; "" for an entry that starts no Linux
	Arguments string   // the kernel's command line
	Initrd    string   // the last of its files; "" where there is none
	Children  []*Entry // of a submenu
}

const (
	maxDepth   = 8
	maxEntries = 1000
)

// ErrNoEntry is returned by [Menu.Choose] for a menu without entries.
var ErrNoEntry = errors.New("GRUB's menu has no entries that can be read")

// Parse reads a configuration. It never fails: what it does not understand, it skips.
func Parse(config []byte) *Menu {
	menu := &Menu{Default: "0"}
	root := &Entry{}
	open := []*Entry{root} // the blocks around the line; nil for one that is no entry
	entries := 0
	for line := range bytes.Lines(config) {
		words := wordsOf(string(line))
		if len(words) == 0 {
			continue
		}
		inner := innermost(open)
		switch words[0] {
		case "menuentry", "submenu":
			if words[len(words)-1] != "{" || len(open) > maxDepth || entries >= maxEntries {
				continue
			}
			entries++
			entry := newEntry(words)
			inner.Children = append(inner.Children, entry)
			open = append(open, entry)
			continue
		case "linux", "linuxefi", "linux16":
			if len(words) > 1 {
				inner.Linux, inner.Arguments = words[1], strings.Join(words[2:], " ")
			}
		case "initrd", "initrdefi", "initrd16":
			if len(words) > 1 {
				inner.Initrd = words[len(words)-1] // after the microcode's
			}
		case "set":
			// "${next_entry}" is for one boot and read from the environment; the other assignment is the rule.
			value, isDefault := strings.CutPrefix(strings.Join(words[1:], " "), "default=")
			if isDefault && value != "${next_entry}" && len(open) == 1 {
				menu.Default = value
			}
		}
		switch last := words[len(words)-1]; {
		case words[0] == "}" && len(open) > 1:
			open = open[:len(open)-1]
		case last == "{" && len(open) <= maxDepth:
			open = append(open, nil)
		}
	}
	menu.Entries = root.Children
	return menu
}

func innermost(open []*Entry) *Entry {
	for _, entry := range slices.Backward(open) {
		if entry != nil {
			return entry
		}
	}
	return &Entry{}
}

func newEntry(words []string) *Entry {
	entry := &Entry{}
	if len(words) > 2 {
		entry.Title = words[1]
	}
	for i, w := range words[:len(words)-1] {
		if w == "--id" || w == "$menuentry_id_option" {
			entry.ID = words[i+1]
		}
	}
	return entry
}

// wordsOf splits a line as a shell does, as far as quotes and comments go.
func wordsOf(line string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, inWord = r, true
		case quote == 0 && r == '#' && !inWord:
			return words
		case quote == 0 && (r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == ';'):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}

// ParseEnvironment reads the environment block: lines of NAME=VALUE, padded with number signs.
func ParseEnvironment(data []byte) map[string]string {
	environment := map[string]string{}
	for line := range bytes.Lines(data) {
		key, value, found := strings.Cut(strings.TrimRight(string(line), "\n"), "=")
		if found && !strings.HasPrefix(key, "#") {
			environment[key] = value
		}
	}
	return environment
}

// Choose returns the entry that GRUB starts when nobody touches a key.
func (m *Menu) Choose(environment map[string]string) (*Entry, error) {
	wanted := m.Default
	switch {
	case environment["next_entry"] != "":
		wanted = environment["next_entry"]
	case wanted == "${saved_entry}":
		wanted = environment["saved_entry"]
	}
	if wanted == "" {
		wanted = "0"
	}
	if len(m.Entries) == 0 {
		return nil, ErrNoEntry
	}
	entry := m.Entries[0] // what GRUB starts when it does not find the wanted one
	entries := m.Entries
	for step := range strings.SplitSeq(wanted, ">") {
		found := find(entries, step)
		if found == nil {
			entry = m.Entries[0]
			break
		}
		entry, entries = found, found.Children
	}
	for len(entry.Children) > 0 { // a submenu: its first entry
		entry = entry.Children[0]
	}
	if entry.Linux == "" {
		return nil, fmt.Errorf("the entry %q starts no Linux", entry.Title)
	}
	return entry, nil
}

// find finds an entry by number, title or id.
func find(entries []*Entry, wanted string) *Entry {
	if number, err := strconv.Atoi(wanted); err == nil {
		if number >= 0 && number < len(entries) {
			return entries[number]
		}
		return nil
	}
	for _, e := range entries {
		if e.Title == wanted || e.ID != "" && e.ID == wanted {
			return e
		}
	}
	return nil
}
