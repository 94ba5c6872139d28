package grub

import (
	"path"
	"slices"
	"strings"
)

// Place is where in the menu an entry is that starts something: the submenus that lead to it, from the outermost on, and itself.
type Place []Step

// Step is one choice on the way to a place.
type Step struct {
	Row   int // in its menu, from 0
	Entry *Entry
}

// Places lists all that can be started, in the order of the menu.
func (m *Menu) Places() []Place { return places(m.Entries, nil) }

func places(entries []*Entry, above Place) []Place {
	var found []Place
	for row, entry := range entries {
		here := append(slices.Clone(above), Step{row, entry})
		if len(entry.Children) == 0 {
			found = append(found, here)
		}
		found = append(found, places(entry.Children, here)...)
	}
	return found
}

// Linux returns the entries that start a Linux, in the order of the menu.
func (m *Menu) Linux() []*Entry {
	var found []*Entry
	for _, place := range m.Places() {
		if entry := place.Entry(); entry.Linux != "" {
			found = append(found, entry)
		}
	}
	return found
}

// Kernel finds the place from which a kernel is started as on every day: not for a recovery.
func (m *Menu) Kernel(release string) (Place, bool) {
	for _, place := range m.Places() {
		entry := place.Entry()
		if release != "" && entry.Release() == release && !entry.recovers() {
			return place, true
		}
	}
	return nil, false
}

// Release is that of the entry's kernel, "" if its file is not named after one.
func (e *Entry) Release() string {
	release, _ := strings.CutPrefix(path.Base(e.Linux), "vmlinuz-")
	if release == path.Base(e.Linux) {
		return ""
	}
	return release
}

// recovers tells whether the entry starts a system for one user, as those do that update-grub calls recovery mode.
func (e *Entry) recovers() bool {
	arguments := strings.Fields(e.Arguments)
	return slices.Contains(arguments, "single") || slices.Contains(arguments, "recovery")
}

// Title is the place as the menu shows it.
func (p Place) Title() string {
	var titles []string
	for _, step := range p {
		titles = append(titles, step.Entry.Title)
	}
	return strings.Join(titles, " > ")
}

// Entry is what is started from the place.
func (p Place) Entry() *Entry { return p[len(p)-1].Entry }

// Rows are the positions of its steps, each in its menu.
func (p Place) Rows() []int {
	var rows []int
	for _, step := range p {
		rows = append(rows, step.Row)
	}
	return rows
}

// Reference is the place's name for grub-reboot: by ids, or by titles where there are none.
func (p Place) Reference() string {
	var names []string
	for _, step := range p {
		name := step.Entry.ID
		if name == "" {
			name = step.Entry.Title
		}
		names = append(names, strings.ReplaceAll(name, ">", ">>"))
	}
	return strings.Join(names, ">")
}
