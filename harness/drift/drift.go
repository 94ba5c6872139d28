// Package drift compares facts taken after a patch with a baseline, and knows which differences mean nothing because they
// happen without any patch.
package drift

import (
	"maps"
	"slices"

	"github.com/patchlab/patchlab/harness/fact"
)

// Change is how a fact differs from the baseline.
type Change string

// The changes.
const (
	Added   Change = "added"
	Removed Change = "removed"
	Changed Change = "changed"
)

// Class is what a drift means.
type Class string

// The classes. None of them is a wildcard: each is decided for one fact, with a reason.
const (
	Unclassed Class = ""
	Expected  Class = "expected" // the candidate's own packages, their files, the restarts they need
	Volatile  Class = "volatile" // differs without any patch
	Allowed   Class = "allowed"  // announced by an allowance
	Finding   Class = "finding"  // whatever is left
)

// Drift is one fact that differs.
type Drift struct {
	Key    fact.Key `json:"key"`
	Change Change   `json:"change"`
	// Was and Is hold the attributes that differ; for an added or removed fact, all of them.
	Was    map[string]string `json:"was,omitempty"`
	Is     map[string]string `json:"is,omitempty"`
	Class  Class             `json:"class,omitempty"`
	Reason string            `json:"reason,omitempty"`  // why it has its class
	ID     string            `json:"finding,omitempty"` // the finding that tells it
}

// derived are attributes that follow from others and are never compared by themselves: the text of a file follows from
// its digest, a process's ids change with every start.
var derived = map[fact.Kind][]string{
	fact.KindFile:    {"text", "size"},
	fact.KindProcess: {"pids", "count", "detached"},
	fact.KindStale:   {"pids", "tty", "users"},
	fact.KindPort:    {"pids"},
}

// Compare lists the facts that differ, in order of their keys.
func Compare(baseline, now fact.Set) []Drift {
	var drifts []Drift
	before, after := baseline.All(), now.All()
	for len(before) > 0 || len(after) > 0 {
		switch order(before, after) {
		case -1:
			drifts = append(drifts, Drift{Key: before[0].Key(), Change: Removed, Was: before[0].Attributes})
			before = before[1:]
		case 1:
			drifts = append(drifts, Drift{Key: after[0].Key(), Change: Added, Is: after[0].Attributes})
			after = after[1:]
		default:
			if was, is := differing(before[0], after[0]); len(was)+len(is) > 0 {
				drifts = append(drifts, Drift{Key: after[0].Key(), Change: Changed, Was: was, Is: is})
			}
			before, after = before[1:], after[1:]
		}
	}
	return drifts
}

// order tells which list has the smaller key in front: -1 the first, 1 the second, 0 both have the same.
func order(before, after []fact.Fact) int {
	switch {
	case len(before) == 0:
		return 1
	case len(after) == 0:
		return -1
	default:
		return before[0].Key().Compare(after[0].Key())
	}
}

func differing(before, after fact.Fact) (was, is map[string]string) {
	if maps.Equal(before.Attributes, after.Attributes) { // as nearly all of tens of thousands are
		return nil, nil
	}
	was, is = map[string]string{}, map[string]string{}
	names := maps.Clone(before.Attributes)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, after.Attributes)
	for name := range names {
		if slices.Contains(derived[before.Kind], name) {
			continue
		}
		old, hadOld := before.Attributes[name]
		current, hasCurrent := after.Attributes[name]
		if old == current && hadOld == hasCurrent {
			continue
		}
		if hadOld {
			was[name] = old
		}
		if hasCurrent {
			is[name] = current
		}
	}
	return was, is
}
