package fact

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// A Set is what one run of the probe read: sorted by kind and name, each key once. The zero Set is empty.
type Set struct {
	facts []Fact
}

// NewSet sorts facts into a set. Of several facts with one key the last wins.
func NewSet(facts ...Fact) Set {
	byKey := make(map[Key]Fact, len(facts))
	for _, f := range facts {
		byKey[f.Key()] = f
	}
	sorted := slices.SortedFunc(maps.Values(byKey), func(a, b Fact) int { return a.Key().Compare(b.Key()) })
	return Set{facts: sorted}
}

// Len returns the number of facts.
func (s Set) Len() int { return len(s.facts) }

// All returns the facts in order. The caller must not change them.
func (s Set) All() []Fact { return s.facts }

// Get finds a fact.
func (s Set) Get(kind Kind, name string) (Fact, bool) {
	i, found := slices.BinarySearchFunc(s.facts, Key{kind, name}, func(f Fact, k Key) int {
		return f.Key().Compare(k)
	})
	if !found {
		return Fact{}, false
	}
	return s.facts[i], true
}

// OfKind returns the facts of one kind, in order of their names.
func (s Set) OfKind(kind Kind) []Fact {
	var found []Fact
	for _, f := range s.facts {
		if f.Kind == kind {
			found = append(found, f)
		}
	}
	return found
}

// MarshalJSON renders the facts as a list in their order.
func (s Set) MarshalJSON() ([]byte, error) {
	if s.facts == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(s.facts)
}

// UnmarshalJSON reads a list of facts in any order.
func (s *Set) UnmarshalJSON(data []byte) error {
	var facts []Fact
	if err := json.Unmarshal(data, &facts); err != nil {
		return fmt.Errorf("reading facts: %w", err)
	}
	*s = NewSet(facts...)
	return nil
}
