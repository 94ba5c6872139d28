package lab

import (
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/scenario"
)

// Phase returns the name of the phase after which the specs run.
func Phase() string { return current().Phase }

// Reboot returns how this phase rebooted the guest, "" if it did not.
func Reboot() string { return current().Reboot }

// Boots returns the boots of this clone that settled, in order; the last one is the one that runs.
func Boots() []handoff.Boot { return current().Boots }

// Moved returns the packages that the candidate moved so far.
func Moved() []handoff.Package { return current().Packages }

// Expectations returns the scenario's declarative checks that are still to be judged.
func Expectations() []scenario.Expect { return current().Expect }

// Baseline returns the facts before the patch.
func Baseline() fact.Set { return current().Baseline }

// Now returns the facts of this phase.
func Now() fact.Set { return current().Facts }

// Facts returns the facts of this phase of the kinds, or of all kinds.
func Facts(kinds ...fact.Kind) []fact.Fact {
	return slices.DeleteFunc(slices.Clone(Now().All()), func(f fact.Fact) bool { return !among(kinds, f.Kind) })
}

// Drifts returns what differs from the baseline, of the kinds or of all kinds. Expected, volatile and allowed drifts are among
// them; [HaveNoDrift] passes them over.
func Drifts(kinds ...fact.Kind) []drift.Drift {
	return slices.DeleteFunc(slices.Clone(current().Drifts), func(d drift.Drift) bool { return !among(kinds, d.Key.Kind) })
}

// Excused tells whether the fact may differ from the baseline: its drift is expected, volatile or allowed.
func Excused(key fact.Key) bool {
	return slices.ContainsFunc(current().Drifts, func(d drift.Drift) bool { return d.Key == key && excused(d) })
}

func excused(d drift.Drift) bool {
	return d.Class == drift.Expected || d.Class == drift.Volatile || d.Class == drift.Allowed
}

func among(kinds []fact.Kind, kind fact.Kind) bool {
	return len(kinds) == 0 || slices.Contains(kinds, kind)
}

// Patience returns what one spec may take on this guest: emulated ones are slow.
func Patience() time.Duration {
	if p := current().Patience; p > 0 {
		return p
	}
	return handoff.DefaultPatience
}

// Timeout is the decorator for specs that ask the guest.
func Timeout() ginkgo.SpecTimeout { return ginkgo.SpecTimeout(Patience()) }
