package judge_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/scenario"
)

// guestFacts reads facts as the client of the probe hands them on: clean, but else whatever a guest likes.
func guestFacts(document []byte) (fact.Set, bool) {
	var sent fact.Set
	if json.Unmarshal(document, &sent) != nil {
		return fact.Set{}, false
	}
	var clean []fact.Fact
	for _, f := range sent.All() {
		clean = append(clean, protocol.CleanFact(f))
	}
	return fact.NewSet(clean...), true
}

// FuzzFacts gives the judge facts that make no sense together. It has to say something, in words that a report can hold.
func FuzzFacts(f *testing.F) {
	for _, seed := range [][2]string{
		{`[{"kind":"unit","name":"a.service","attributes":{"active":"active","enabled":"enabled"}}]`, `[]`},
		{`[]`, `[{"kind":"port","name":"tcp/*:80","attributes":{"unit":"a.service"}},{"kind":"port","name":"/","attributes":{}}]`},
		{`[{"kind":"package","name":"a:amd64","attributes":{"version":"1"}}]`, `[{"kind":"package","name":"a","attributes":{"status":"half-installed"}}]`},
		{`[{"kind":"file","name":"/etc/a","attributes":{"type":"file","text":"x"}}]`, `[{"kind":"file","name":"/etc/a","attributes":{"type":"link","target":"/"}}]`},
		{`[{"kind":"user","name":"root","attributes":{"uid":"0"}}]`, `[{"kind":"mount","name":"","attributes":{"options":"rw"}},{"kind":"stale","name":"x"}]`},
		{`[{"kind":"kernel","name":"running","attributes":{"release":"1"}}]`, `[{"kind":"kernel","name":"default"},{"kind":"process","name":"- "}]`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]), []byte(seed[0]))
	}
	f.Fuzz(func(t *testing.T, baseline, now, control []byte) {
		before, ok1 := guestFacts(baseline)
		after, ok2 := guestFacts(now)
		rebooted, ok3 := guestFacts(control)
		if !ok1 || !ok2 || !ok3 {
			return
		}
		j := judge.New(judge.Case{Baseline: before, Control: rebooted, Restart: scenario.RestartAdvised})
		for _, b := range []judge.Boundary{
			{Phase: "apply", Increment: "a", RestartsPending: true, Facts: after},
			{Phase: "settle", Increment: "a", Facts: after},
			{Phase: "reboot", Rebooted: true, Facts: after},
		} {
			j.At(b)
			j.Restarted("a.service")
		}
		for _, found := range j.Findings() {
			if found.ID == "" || found.Title == "" {
				t.Errorf("a finding that says nothing: %+v", found)
			}
			for _, text := range []string{found.Title, found.Was, found.Is, found.Cause, found.Remedy} {
				if !utf8.ValidString(text) {
					t.Errorf("%s says %q, which no JSON can hold", found.ID, text)
				}
			}
		}
	})
}
