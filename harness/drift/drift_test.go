package drift_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
)

func unit(name, active string) fact.Fact {
	return fact.Fact{Kind: fact.KindUnit, Name: name, Attributes: map[string]string{"active": active}}
}

func TestCompareListsWhatDiffersInOrder(t *testing.T) {
	before := fact.NewSet(unit("a", "active"), unit("b", "active"), unit("c", "active"))
	after := fact.NewSet(unit("d", "active"), unit("c", "failed"), unit("b", "active"))
	want := []drift.Drift{
		{Key: fact.Key{Kind: "unit", Name: "a"}, Change: drift.Removed, Was: map[string]string{"active": "active"}},
		{
			Key: fact.Key{Kind: "unit", Name: "c"}, Change: drift.Changed,
			Was: map[string]string{"active": "active"}, Is: map[string]string{"active": "failed"},
		},
		{Key: fact.Key{Kind: "unit", Name: "d"}, Change: drift.Added, Is: map[string]string{"active": "active"}},
	}
	if diff := cmp.Diff(want, drift.Compare(before, after)); diff != "" {
		t.Errorf("drifts (-want +got):\n%s", diff)
	}
}

func TestCompareIgnoresWhatFollowsFromOtherAttributes(t *testing.T) {
	process := func(pids string) fact.Set {
		return fact.NewSet(fact.Fact{Kind: fact.KindProcess, Name: "u e", Attributes: map[string]string{
			"pids": pids, "users": "root",
		}})
	}
	if drifts := drift.Compare(process("1,2"), process("7")); len(drifts) > 0 {
		t.Errorf("process ids count as a drift: %v", drifts)
	}
}

func TestVolatilityExplainsOnlyWhatWasSeen(t *testing.T) {
	baseline := fact.NewSet(unit("timer-run", "inactive"), unit("steady", "active"), unit("gone", "inactive"))
	control := fact.NewSet(unit("timer-run", "activating"), unit("steady", "active"), unit("new", "active"))
	tests := []struct {
		name string
		now  fact.Set
		want bool
	}{
		{"a value that the control showed", fact.NewSet(unit("timer-run", "activating"), unit("steady", "active"), unit("gone", "inactive")), true},
		{"another value of a unit that is volatile", fact.NewSet(unit("timer-run", "failed"), unit("steady", "active"), unit("gone", "inactive")), false},
		{"a unit that never moved", fact.NewSet(unit("timer-run", "inactive"), unit("steady", "failed"), unit("gone", "inactive")), false},
		{"an addition that the control showed", fact.NewSet(append(baseline.All(), unit("new", "active"))...), true},
		{"that addition in another state", fact.NewSet(append(baseline.All(), unit("new", "failed"))...), false},
		{"a removal that the control showed", fact.NewSet(unit("timer-run", "inactive"), unit("steady", "active")), true},
		{"a removal that it did not show", fact.NewSet(unit("timer-run", "inactive"), unit("gone", "inactive")), false},
	}
	volatile := drift.Learn(baseline, control)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			drifts := drift.Compare(baseline, tt.now)
			if len(drifts) != 1 {
				t.Fatalf("the case has %d drifts, want 1: %v", len(drifts), drifts)
			}
			if got := volatile.Explains(drifts[0]); got != tt.want {
				t.Errorf("explained: %v, want %v", got, tt.want)
			}
		})
	}
}
