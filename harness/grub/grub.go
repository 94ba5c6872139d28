// Package grub reads GRUB's configuration as far as it says what its menu offers, and what starts when nobody touches a key.
package grub

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Menu is what is understood of grub.cfg: the entries, and what `set default` says. The rest of the language is read for its blocks
// and quotes alone, which suffices for what grub-mkconfig writes.
type Menu struct {
	Entries []*Entry
	Default string // for a boot without a next_entry, as it is written: a reference, or ${saved_entry}
	// Faults are why GRUB would not read all of it, as sentences; a configuration that was cut off has some.
	Faults []string
}

// Entry is one line of the menu. Its paths are those of the file system that GRUB reads them from.
type Entry struct {
	Title, ID string
	Linux     string   // the kernel's file; "" for an entry that starts no Linux
	Arguments string   // the kernel's command line
	Initrd    string   // the last of its files; "" where there is none
	Initrds   []string // all of them: microcode comes first
	Search    string   // the UUID of the file system that they are on; "" where it does not say
	Children  []*Entry // of a submenu
}

const (
	maxDepth   = 32
	maxEntries = 1000
	maxFaults  = 5
)

// ErrNoEntry is returned by [Menu.Choose] for a menu without entries.
var ErrNoEntry = errors.New("GRUB's menu has no entries that can be read")

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
