package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/printable"
)

// attributeText holds a file's whole content: it is shown as a diff, never in a line.
const attributeText = "text"

// Facts renders facts for a person: a section for each kind, a line for each fact, cut to the view's width. A width of 0
// cuts nothing but what is absurd.
func Facts(set fact.Set, view View) string {
	s := &summary{view: view}
	width := view.Width
	if width == 0 {
		width = maxCell
	}
	byKind := map[fact.Kind][]fact.Fact{}
	for _, f := range set.All() {
		byKind[f.Kind] = append(byKind[f.Kind], f)
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		facts := byKind[kind]
		s.section(fmt.Sprintf("%s: %d", printable.Line(string(kind), maxText), len(facts)), len(facts))
		longest := 0
		for _, f := range facts {
			longest = max(longest, lipgloss.Width(printable.Line(f.Name, maxName)))
		}
		for _, f := range facts {
			name := printable.Line(f.Name, maxName)
			name += strings.Repeat(" ", max(0, min(longest, 40)-lipgloss.Width(name)))
			line := []string{"", name}
			for _, a := range slices.Sorted(maps.Keys(f.Attributes)) {
				if a != attributeText {
					line = append(line, a+"="+f.Attributes[a])
				}
			}
			s.line("%s", printable.Line(strings.Join(line, "  "), width))
		}
	}
	return strings.TrimPrefix(s.b.String(), "\n")
}
