package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/printable"
)

// HaveNoDrift succeeds for a list of drifts ([Drifts]) in which none is a fault: neither expected, volatile nor allowed.
// With conditions, only drifts that fulfil all of them count. It fails with the facts that moved, was -> is.
func HaveNoDrift(which ...Which) types.GomegaMatcher { return &noDrift{which: which} }

type noDrift struct {
	which  []Which
	faults []drift.Drift
	passed int // looked at and passed over
}

func (m *noDrift) Match(actual any) (bool, error) {
	drifts, ok := actual.([]drift.Drift)
	if !ok {
		return false, fmt.Errorf("HaveNoDrift matches a list of drifts such as lab.Drifts(), not %T", actual)
	}
	m.faults = slices.DeleteFunc(slices.Clone(drifts), func(d drift.Drift) bool {
		return excused(d) || slices.ContainsFunc(m.which, func(w Which) bool { return !w(d) })
	})
	m.passed = len(drifts) - len(m.faults)
	return len(m.faults) == 0, nil
}

func (m *noDrift) FailureMessage(any) string {
	subjects := make([]fact.Key, 0, len(m.faults))
	for _, d := range m.faults {
		subjects = append(subjects, d.Key)
	}
	Blame(subjects...)
	return Describe(m.faults)
}

func (m *noDrift) NegatedFailureMessage(any) string {
	return fmt.Sprintf("Expected a fact to have moved, but none has (%d drifts looked at)", m.passed)
}

// most bounds a message: beyond it nobody reads, and the report has all facts anyway.
const most = 40

// Describe lists drifts for people: a single one in a line, several one a line.
func Describe(drifts []drift.Drift) string {
	if len(drifts) == 1 {
		return "moved since the baseline: " + line(drifts[0])
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d facts have moved since the baseline:", len(drifts))
	for i, d := range drifts {
		if i == most {
			fmt.Fprintf(&out, "\n  and %d more", len(drifts)-most)
			break
		}
		out.WriteString("\n  " + line(d))
	}
	return out.String()
}

func line(d drift.Drift) string {
	subject := string(d.Key.Kind) + " " + legible(d.Key.Name)
	switch d.Change {
	case drift.Added:
		return subject + ": new" + list(d.Is)
	case drift.Removed:
		return subject + ": gone, was" + list(d.Was)
	default:
		names := maps.Clone(d.Was)
		if names == nil {
			names = map[string]string{}
		}
		maps.Copy(names, d.Is)
		var moves []string
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if name != "text" { // a whole file
				moves = append(moves, name+" "+value(d.Was, name)+" -> "+value(d.Is, name))
			}
		}
		return subject + ": " + strings.Join(moves, ", ")
	}
}

// list renders all attributes of a fact that came or went.
func list(attributes map[string]string) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if name != "text" {
			out.WriteString(" " + name + "=" + value(attributes, name))
		}
	}
	return out.String()
}

func value(attributes map[string]string, name string) string {
	v, has := attributes[name]
	if !has {
		return "(none)"
	}
	return legible(v)
}

// legible makes what a guest says fit for a terminal and for one line.
func legible(s string) string {
	const longest = 160
	if s == "" {
		return `""`
	}
	return printable.Line(s, longest)
}
