package lab

import (
	"path"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
)

// Which selects drifts.
type Which func(drift.Drift) bool

// Lost selects facts that are gone.
func Lost(d drift.Drift) bool { return d.Change == drift.Removed }

// Appeared selects facts that are new.
func Appeared(d drift.Drift) bool { return d.Change == drift.Added }

// Left selects facts whose attribute had the value and has it no longer, gone ones too.
func Left(attribute, value string) Which {
	return func(d drift.Drift) bool { return d.Was[attribute] == value && d.Is[attribute] != value }
}

// Became selects facts whose attribute has the value and had another before, new ones too.
func Became(attribute, value string) Which {
	return func(d drift.Drift) bool { return d.Is[attribute] == value && d.Was[attribute] != value }
}

// Altered selects facts that were and are, with another value of one of the attributes.
func Altered(attributes ...string) Which {
	return func(d drift.Drift) bool {
		for _, a := range attributes {
			was, had := d.Was[a]
			is, has := d.Is[a]
			if d.Change == drift.Changed && (was != is || had != has) {
				return true
			}
		}
		return false
	}
}

// Named selects facts by a pattern of path.Match.
func Named(pattern string) Which {
	return func(d drift.Drift) bool {
		matched, err := path.Match(pattern, d.Key.Name)
		return err == nil && matched
	}
}

// Suffixed selects facts whose names end in one of the suffixes: Suffixed(".service", ".socket").
func Suffixed(suffixes ...string) Which {
	return func(d drift.Drift) bool {
		for _, s := range suffixes {
			if strings.HasSuffix(d.Key.Name, s) {
				return true
			}
		}
		return false
	}
}

// AnyOf selects what one of the others selects.
func AnyOf(which ...Which) Which {
	return func(d drift.Drift) bool {
		for _, w := range which {
			if w(d) {
				return true
			}
		}
		return false
	}
}
