package drift

import (
	"slices"

	"github.com/patchlab/patchlab/harness/fact"
)

// Volatility is what was seen to differ between sets taken from the same unpatched guest: repeated probes of the
// baseline, and the control after an unpatched reboot.
type Volatility struct {
	samples []fact.Set
}

// Learn remembers the samples. The first is the baseline that later sets are compared with.
func Learn(samples ...fact.Set) Volatility { return Volatility{samples: samples} }

// exact are the kinds whose volatile values count only when that very value was seen without a patch: a unit that was
// seen active and inactive is not thereby free to fail, nor is a port free to move.
var exact = map[fact.Kind]bool{
	fact.KindUnit: true, fact.KindPort: true, fact.KindPackage: true, fact.KindUser: true, fact.KindMount: true,
	fact.KindKernel: true, fact.KindFile: true, fact.KindAddress: true,
}

// Explains tells whether the drift happens without any patch.
func (v Volatility) Explains(d Drift) bool {
	switch d.Change {
	case Added:
		return v.anySample(func(s fact.Set) bool { return v.matches(s, d.Key, d.Is) })
	case Removed:
		return v.anySample(func(s fact.Set) bool {
			_, found := s.Get(d.Key.Kind, d.Key.Name)
			return !found
		})
	default:
		return v.everyAttribute(d)
	}
}

func (v Volatility) anySample(holds func(fact.Set) bool) bool {
	return slices.ContainsFunc(v.samples, holds)
}

// matches tells whether a sample has the fact, and for exact kinds with the same values.
func (v Volatility) matches(sample fact.Set, key fact.Key, attributes map[string]string) bool {
	f, found := sample.Get(key.Kind, key.Name)
	if !found {
		return false
	}
	if !exact[key.Kind] {
		return true
	}
	was, is := differing(f, fact.Fact{Kind: key.Kind, Name: key.Name, Attributes: attributes})
	return len(was)+len(is) == 0
}

// everyAttribute tells whether each attribute that moved was seen to move: to this very value for exact kinds, to any
// other value for the rest.
func (v Volatility) everyAttribute(d Drift) bool {
	moved := map[string]bool{}
	for name := range d.Was {
		moved[name] = true
	}
	for name := range d.Is {
		moved[name] = true
	}
	for name := range moved {
		if !v.attributeMoved(d, name) {
			return false
		}
	}
	return true
}

func (v Volatility) attributeMoved(d Drift, name string) bool {
	return v.anySample(func(s fact.Set) bool {
		f, found := s.Get(d.Key.Kind, d.Key.Name)
		if !found {
			return false
		}
		value, has := f.Attributes[name]
		if exact[d.Key.Kind] {
			current, is := d.Is[name]
			return value == current && has == is
		}
		old, was := d.Was[name]
		return value != old || has != was
	})
}
