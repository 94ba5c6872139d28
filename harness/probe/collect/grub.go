package collect

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// grubMenu is what the probe understands of grub.cfg: the entries, and what `set default` says. The rest of the
// language is ignored, which suffices for what grub-mkconfig writes and is told where it does not.
type grubMenu struct {
	entries  []*grubEntry
	standard string // the value for a boot without a next_entry
}

type grubEntry struct {
	title, id                string
	linux, arguments, initrd string
	children                 []*grubEntry // of a submenu
}

const (
	maxGrubDepth   = 8
	maxGrubEntries = 1000
)

var errNoEntry = errors.New("GRUB's menu has no entries that the probe can read")

// parseGrub reads a configuration. It never fails: what it does not understand, it skips.
func parseGrub(config []byte) *grubMenu {
	menu := &grubMenu{standard: "0"}
	root := &grubEntry{}
	open := []*grubEntry{root} // the blocks around the line; nil for one that is no entry
	entries := 0
	for line := range bytes.Lines(config) {
		words := grubWords(string(line))
		if len(words) == 0 {
			continue
		}
		inner := innermost(open)
		switch words[0] {
		case "menuentry", "submenu":
			if words[len(words)-1] != "{" || len(open) > maxGrubDepth || entries >= maxGrubEntries {
				continue
			}
			entries++
			entry := newGrubEntry(words)
			inner.children = append(inner.children, entry)
			open = append(open, entry)
			continue
		case "linux", "linuxefi", "linux16":
			if len(words) > 1 {
				inner.linux, inner.arguments = words[1], strings.Join(words[2:], " ")
			}
		case "initrd", "initrdefi", "initrd16":
			if len(words) > 1 {
				inner.initrd = words[len(words)-1] // after the microcode's
			}
		case "set":
			// "${next_entry}" is for one boot and read from the environment; the other assignment is the rule.
			value, isDefault := strings.CutPrefix(strings.Join(words[1:], " "), "default=")
			if isDefault && value != "${next_entry}" && len(open) == 1 {
				menu.standard = value
			}
		}
		switch last := words[len(words)-1]; {
		case words[0] == "}" && len(open) > 1:
			open = open[:len(open)-1]
		case last == "{" && len(open) <= maxGrubDepth:
			open = append(open, nil)
		}
	}
	menu.entries = root.children
	return menu
}

func innermost(open []*grubEntry) *grubEntry {
	for _, entry := range slices.Backward(open) {
		if entry != nil {
			return entry
		}
	}
	return &grubEntry{}
}

func newGrubEntry(words []string) *grubEntry {
	entry := &grubEntry{}
	if len(words) > 2 {
		entry.title = words[1]
	}
	for i, w := range words[:len(words)-1] {
		if w == "--id" || w == "$menuentry_id_option" {
			entry.id = words[i+1]
		}
	}
	return entry
}

// grubWords splits a line as a shell does, as far as quotes and comments go.
func grubWords(line string) []string {
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

// parseGrubEnv reads the environment block: lines of NAME=VALUE, padded with number signs.
func parseGrubEnv(data []byte) map[string]string {
	environment := map[string]string{}
	for line := range bytes.Lines(data) {
		key, value, found := strings.Cut(strings.TrimRight(string(line), "\n"), "=")
		if found && !strings.HasPrefix(key, "#") {
			environment[key] = value
		}
	}
	return environment
}

// choose returns the entry that GRUB starts when nobody touches a key.
func (m *grubMenu) choose(environment map[string]string) (*grubEntry, error) {
	wanted := m.standard
	switch {
	case environment["next_entry"] != "":
		wanted = environment["next_entry"]
	case wanted == "${saved_entry}":
		wanted = environment["saved_entry"]
	}
	if wanted == "" {
		wanted = "0"
	}
	if len(m.entries) == 0 {
		return nil, errNoEntry
	}
	entry := m.entries[0] // what GRUB starts when it does not find the wanted one
	entries := m.entries
	for step := range strings.SplitSeq(wanted, ">") {
		found := findGrubEntry(entries, step)
		if found == nil {
			entry = m.entries[0]
			break
		}
		entry, entries = found, found.children
	}
	for len(entry.children) > 0 { // a submenu: its first entry
		entry = entry.children[0]
	}
	if entry.linux == "" {
		return nil, fmt.Errorf("the entry %q starts no Linux", entry.title)
	}
	return entry, nil
}

// findGrubEntry finds an entry by number, title or id.
func findGrubEntry(entries []*grubEntry, wanted string) *grubEntry {
	if number, err := strconv.Atoi(wanted); err == nil {
		if number >= 0 && number < len(entries) {
			return entries[number]
		}
		return nil
	}
	for _, e := range entries {
		if e.title == wanted || e.id != "" && e.id == wanted {
			return e
		}
	}
	return nil
}
