package grub

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Parse reads a configuration. It never fails: what is wrong with it is told in [Menu.Faults]. Conditions are not evaluated: the
// entries of all branches are the menu's.
func Parse(config []byte) *Menu {
	p := parser{menu: &Menu{Default: "0"}, root: &Entry{}}
	statements, fault := split(config)
	for _, words := range statements {
		p.read(words)
	}
	if fault != "" {
		p.fault(fault)
	}
	for _, b := range p.open {
		p.fault(fmt.Sprintf("%s is not closed by %s", b.what, b.closedBy))
	}
	p.menu.Entries = p.root.Children
	return p.menu
}

// parser holds the blocks around a statement.
type parser struct {
	menu    *Menu
	root    *Entry
	open    []block
	entries int
}

type block struct {
	what     string // for a fault
	closedBy string
	entry    *Entry // nil for one that is none
}

func (p *parser) fault(text string) {
	if len(p.menu.Faults) < maxFaults {
		p.menu.Faults = append(p.menu.Faults, text)
	}
}

// innermost returns the entry to which a statement belongs.
func (p *parser) innermost() *Entry {
	for _, b := range slices.Backward(p.open) {
		if b.entry != nil {
			return b.entry
		}
	}
	return p.root
}

func (p *parser) read(words []word) {
	for len(words) > 0 && words[0].is("then", "else", "do", "!") { // what follows is a statement of its own
		words = words[1:]
	}
	if len(words) == 0 {
		return
	}
	first, last := words[0], words[len(words)-1]
	opensBlock := last.is("{")
	switch {
	case first.is("}", "fi", "done"):
		p.close(first.text)
		if len(words) > 1 {
			p.read(words[1:])
		}
	case first.is("menuentry", "submenu") && opensBlock:
		p.enter(block{what: "the " + first.text + " " + strconv.Quote(words[min(1, len(words)-2)].text), closedBy: "}", entry: p.newEntry(words)})
	case first.is("if"):
		p.enter(block{what: "an if", closedBy: "fi"})
	case first.is("while", "until", "for"):
		p.enter(block{what: "a " + first.text, closedBy: "done"})
	case opensBlock:
		p.enter(block{what: "a block", closedBy: "}"})
	default:
		p.command(words)
		if len(words) > 1 && last.is("}") { // menuentry x { linux y }
			p.close("}")
		}
	}
}

func (p *parser) enter(b block) {
	if len(p.open) >= maxDepth {
		p.fault("blocks are nested deeper than anybody writes them")
		return
	}
	p.open = append(p.open, b)
}

func (p *parser) close(by string) {
	if len(p.open) == 0 || p.open[len(p.open)-1].closedBy != by {
		p.fault(by + " closes nothing")
		return
	}
	p.open = p.open[:len(p.open)-1]
}

func (p *parser) newEntry(words []word) *Entry {
	entry := &Entry{}
	if p.entries++; p.entries > maxEntries {
		return entry // it is read, and not in the menu
	}
	if len(words) > 2 {
		entry.Title = words[1].text
	}
	for i, w := range words[:len(words)-1] {
		if w.text == "--id" || w.text == "$menuentry_id_option" {
			entry.ID = words[i+1].text
		}
	}
	inner := p.innermost()
	inner.Children = append(inner.Children, entry)
	return entry
}

func (p *parser) command(words []word) {
	entry, arguments := p.innermost(), texts(words[1:])
	switch words[0].text {
	case "linux", "linuxefi", "linux16":
		if len(arguments) > 0 {
			entry.Linux, entry.Arguments = arguments[0], strings.Join(arguments[1:], " ")
		}
	case "initrd", "initrdefi", "initrd16":
		if entry.Initrds = arguments; len(arguments) > 0 {
			entry.Initrd = arguments[len(arguments)-1]
		}
	case "search":
		if slices.Contains(arguments, "--fs-uuid") || slices.Contains(arguments, "-u") {
			entry.Search = arguments[len(arguments)-1]
		}
	case "set":
		p.assign(strings.Join(arguments, " "))
	default:
		p.assign(words[0].text)
	}
}

// assign notes the default. "${next_entry}" is for one boot and read from the environment; the other assignment is the rule.
func (p *parser) assign(assignment string) {
	value, isDefault := strings.CutPrefix(assignment, "default=")
	braces := slices.ContainsFunc(p.open, func(b block) bool { return b.closedBy == "}" })
	if isDefault && value != "${next_entry}" && !braces {
		p.menu.Default = value
	}
}
