package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/printable"
)

// Bounds of what two sets of facts can put onto a terminal. The rest is said to be left out; json has everything.
const (
	maxName     = 300  // runes of a fact's name
	maxCell     = 2000 // runes of a value
	maxCellRows = 4    // lines that one value is wrapped to
	maxDrifts   = 1000
	maxTextRows = 120 // lines of one file's diff
	// sideBySide is the least width at which two columns are of use; below it, what was stands above what is.
	sideBySide = 64
	// textContext is how many unchanged lines are shown around changed ones.
	textContext = 2
)

// Comparison is two sets of facts and how they differ.
type Comparison struct {
	Was, Is string // what the sides are called
	Before  fact.Set
	After   fact.Set
	Drifts  []drift.Drift // from Before to After
}

// SideBySide renders a comparison for a person: what was on the left, what is on the right, with the marks of `diff -y`
// between them (< gone, > new, | changed). On a narrow terminal the two stand one above the other.
func SideBySide(c Comparison, view View) string {
	if view.Width < 20 {
		view.Width = 80
	}
	s := &sides{summary: summary{view: view}}
	s.layout(c.Drifts)
	if len(c.Drifts) == 0 {
		s.paragraph("", "", fmt.Sprintf("No difference between %s and %s.", c.Was, c.Is))
		return s.b.String()
	}
	s.titles(c)
	var kind fact.Kind
	for i, d := range c.Drifts {
		if i == maxDrifts {
			s.line("")
			s.paragraph("", "", fmt.Sprintf("... and %d more; --output json has them all", len(c.Drifts)-i))
			break
		}
		if d.Key.Kind != kind {
			kind = d.Key.Kind
			s.section(printable.Line(string(kind), maxText)+": "+changes(c.Drifts, kind), 1)
		}
		s.drift(c, d)
	}
	return s.b.String()
}

// changes says how many facts of a kind are new, gone and changed.
func changes(drifts []drift.Drift, kind fact.Kind) string {
	var parts []string
	for _, one := range []struct {
		change drift.Change
		word   string
	}{{drift.Removed, "gone"}, {drift.Added, "new"}, {drift.Changed, "changed"}} {
		n := 0
		for _, d := range drifts {
			if d.Key.Kind == kind && d.Change == one.change {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, one.word))
		}
	}
	return strings.Join(parts, ", ")
}

// sides is a summary in two columns.
type sides struct {
	summary
	label int // columns of the attributes' names
	cell  int // columns of each side; 0 = one above the other
}

const (
	sidesIndent = "    "
	sidesGap    = 3 // columns between the sides: the mark with its spaces
)

func (s *sides) layout(drifts []drift.Drift) {
	const most = 16 // columns that a name may take from the values
	for _, d := range drifts {
		for _, a := range moved(d) {
			s.label = max(s.label, min(most, lipgloss.Width(printable.Line(a, maxText))))
		}
	}
	s.label = max(s.label, len("99999"))
	if s.view.Width >= sideBySide {
		s.cell = (s.view.Width - len(sidesIndent) - s.label - 1 - sidesGap) / 2
	}
}

func (s *sides) titles(c Comparison) {
	was, is := printable.Line(c.Was, maxText), printable.Line(c.Is, maxText)
	bold := lipgloss.NewStyle().Bold(true)
	if s.cell == 0 || max(lipgloss.Width(was), lipgloss.Width(is)) > s.cell {
		s.line("%s", s.paint(bold, "< "+was))
		s.line("%s", s.paint(bold, "> "+is))
		return
	}
	lead := strings.Repeat(" ", len(sidesIndent)+s.label+1)
	s.line("%s%s", lead, s.paint(bold, pad(was, s.cell)+"   "+is))
}

// looks of the two sides and of the three changes.
func (s *sides) looks(change drift.Change) (mark string, style lipgloss.Style) {
	switch change {
	case drift.Added:
		return ">", lipgloss.NewStyle().Foreground(lipgloss.Green)
	case drift.Removed:
		return "<", lipgloss.NewStyle().Foreground(lipgloss.Red)
	default:
		return "|", lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	}
}

func (s *sides) drift(c Comparison, d drift.Drift) {
	mark, style := s.looks(d.Change)
	name := printable.Line(d.Key.Name, maxName)
	if d.Class != drift.Unclassed {
		name += " (" + string(d.Class) + ")"
	}
	for i, part := range wrap(name, s.view.Width-4, maxCellRows) {
		if i > 0 {
			mark = " "
		}
		s.line("  %s", s.paint(style, mark+" "+part))
	}
	for _, a := range moved(d) {
		was, had := d.Was[a]
		is, has := d.Is[a]
		s.row(printable.Line(a, maxText), side{brief(was), had}, side{brief(is), has})
	}
	s.text(c, d)
}

// moved are the attributes that a drift tells, sorted, without those that are too long for a cell.
func moved(d drift.Drift) []string {
	names := maps.Clone(d.Was)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, d.Is)
	delete(names, attributeText)
	return slices.Sorted(maps.Keys(names))
}

// brief shortens a digest: whether two are the same is all that a person sees in them.
func brief(value string) string {
	const shown, shortest = 12, 32 // of MD5, dpkg's for conffiles
	if len(value) < shortest || strings.Trim(value, "0123456789abcdef") != "" {
		return value
	}
	return value[:shown] + "…"
}

// side is a value on one side, or that there is none.
type side struct {
	value string
	there bool
}

func (c side) rows(width int) []string {
	if !c.there {
		return nil
	}
	return wrap(printable.Line(c.value, maxCell), width, maxCellRows)
}

// row writes what was and what is under one label.
func (s *sides) row(label string, was, is side) {
	red, green := lipgloss.NewStyle().Foreground(lipgloss.Red), lipgloss.NewStyle().Foreground(lipgloss.Green)
	same := was == is
	if same {
		red, green = lipgloss.NewStyle(), lipgloss.NewStyle()
	}
	if s.cell == 0 {
		s.stacked(label, was, is, red, green)
		return
	}
	mark := " "
	switch {
	case same:
	case !was.there:
		mark = ">"
	case !is.there:
		mark = "<"
	default:
		mark = "|"
	}
	left, right := was.rows(s.cell), is.rows(s.cell)
	for i := range max(len(left), len(right)) {
		l, r := at(left, i), at(right, i)
		line := sidesIndent + pad(cut(label, s.label), s.label) + " " + s.paint(red, pad(l, s.cell)) + " " + mark
		if r != "" {
			line += " " + s.paint(green, r)
		}
		s.line("%s", strings.TrimRight(line, " "))
		label, mark = "", " "
	}
}

// stacked writes what was above what is, for narrow terminals.
func (s *sides) stacked(label string, was, is side, red, green lipgloss.Style) {
	width := max(10, s.view.Width-len(sidesIndent)-2)
	write := func(mark string, style lipgloss.Style, c side) {
		if !c.there {
			return
		}
		value := c.value
		if label != "" {
			value = label + ": " + value
		}
		for _, part := range wrap(printable.Line(value, maxCell), width, maxCellRows) {
			s.line("%s", strings.TrimRight(sidesIndent+s.paint(style, mark+" "+part), " "))
			mark = " "
		}
	}
	if was == is {
		write(" ", red, was)
		return
	}
	write("<", red, was)
	write(">", green, is)
}

// text shows how the content of a file has changed, where both sides have it.
func (s *sides) text(c Comparison, d drift.Drift) {
	if d.Change != drift.Changed {
		return
	}
	before, _ := c.Before.Get(d.Key.Kind, d.Key.Name)
	after, _ := c.After.Get(d.Key.Kind, d.Key.Name)
	was, hadText := before.Attributes[attributeText]
	is, hasText := after.Attributes[attributeText]
	if !hadText || !hasText || was == is {
		return
	}
	rows := textRows(was, is)
	for i, r := range rows {
		if i == maxTextRows {
			s.line("%s... and %d more lines", sidesIndent, len(rows)-i)
			return
		}
		if r.number == leftOut {
			s.line("%s%s", sidesIndent, leftOut)
			continue
		}
		s.row(r.number, r.was, r.is)
	}
}

// leftOut stands for unchanged lines.
const leftOut = "..."

func at(rows []string, i int) string {
	if i < len(rows) {
		return rows[i]
	}
	return ""
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-lipgloss.Width(text)))
}

func cut(text string, width int) string { return wrap(text, width, 1)[0] }

// wrap breaks clean text into at most so many lines of a width, anywhere: values are paths and digests more often than words.
func wrap(text string, width, most int) []string {
	width = max(width, 2)
	rows, row, used := []string{}, strings.Builder{}, 0
	for _, r := range text {
		w := lipgloss.Width(string(r))
		if used+w > width {
			if len(rows) == most-1 {
				return append(rows, shorten(row.String(), width))
			}
			rows = append(rows, row.String())
			row.Reset()
			used = 0
		}
		row.WriteRune(r)
		used += w
	}
	return append(rows, row.String())
}

// shorten marks a line as one that goes on.
func shorten(line string, width int) string {
	runes := []rune(line)
	for len(runes) > 0 && lipgloss.Width(string(runes))+1 > width {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "…"
}
