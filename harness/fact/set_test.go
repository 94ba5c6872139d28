package fact_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
)

func TestASetRendersTheSameBytesInWhateverOrderItWasRead(t *testing.T) {
	a := fact.Fact{Kind: fact.KindUnit, Name: "a.service", Attributes: map[string]string{"active": "active", "type": "simple"}}
	b := fact.Fact{Kind: fact.KindUnit, Name: "b.service"}
	c := fact.Fact{Kind: fact.KindPort, Name: "tcp/*:80"}
	want := `[{"kind":"port","name":"tcp/*:80"},` +
		`{"kind":"unit","name":"a.service","attributes":{"active":"active","type":"simple"}},{"kind":"unit","name":"b.service"}]`
	for _, facts := range [][]fact.Fact{{a, b, c}, {c, b, a}, {b, a, c, b}} {
		got, err := json.Marshal(fact.NewSet(facts...))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("rendered\n%s\nwant\n%s", got, want)
		}
	}
}

func TestASetSurvivesBeingWrittenAndRead(t *testing.T) {
	set := fact.NewSet(fact.Fact{Kind: "unit", Name: "b"}, fact.Fact{Kind: "unit", Name: "a"})
	content, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	var read fact.Set
	if err := json.Unmarshal(content, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(set.All(), read.All()); diff != "" {
		t.Errorf("facts (-written +read):\n%s", diff)
	}
	if empty, err := json.Marshal(fact.Set{}); err != nil || string(empty) != "[]" {
		t.Errorf("an empty set renders as %s, %v; want []", empty, err)
	}
}

func TestFactsAreFoundByTheirKey(t *testing.T) {
	set := fact.NewSet(fact.Fact{Kind: "unit", Name: "a"}, fact.Fact{Kind: "port", Name: "a"}, fact.Fact{Kind: "unit", Name: "c"})
	if f, found := set.Get("port", "a"); !found || f.Kind != "port" {
		t.Errorf("port a: %v, %v", f, found)
	}
	if _, found := set.Get("unit", "b"); found {
		t.Error("unit b was found, and does not exist")
	}
	if units := set.OfKind("unit"); len(units) != 2 {
		t.Errorf("units are %v", units)
	}
}
