package report

import (
	"fmt"
	"slices"

	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// Truth compares the outcome with what the scenario says it must be.
type Truth struct {
	Outcome    verdict.Outcome `json:"outcome"`
	Findings   []string        `json:"findings,omitempty"`
	Increments []string        `json:"increments,omitempty"`
	Phase      string          `json:"phase,omitempty"`
	BootStage  string          `json:"boot_stage,omitempty"`
	Fallback   string          `json:"fallback,omitempty"`
	Rescue     string          `json:"rescue,omitempty"`
	Holds      bool            `json:"holds"`
	Mismatch   []string        `json:"mismatch,omitempty"`
}

// NewTruth returns what a scenario says, compared with nothing yet.
func NewTruth(said scenario.Truth) Truth {
	return Truth{
		Outcome: verdict.Outcome(said.Outcome), Findings: said.Findings, Increments: said.Increments,
		Phase: said.Phase, BootStage: said.BootStage,
		Fallback: said.Fallback, Rescue: said.Rescue,
	}
}

// Misses are what a result does not say as it ought to, each as a sentence.
type Misses struct {
	Verdict     []string // the outcome, the ids of findings
	Attribution []string // who is guilty, and when it was seen
	Diagnosis   []string // where the boot ended
	WayBack     []string // whether a fallback is proven, a rescue found
}

// Misses compares a result with the truth. What the truth is silent about is not compared.
func (t Truth) Misses(result Result) (m Misses) {
	if result.Outcome != t.Outcome {
		m.Verdict = append(m.Verdict, fmt.Sprintf("outcome is %s, not %s", result.Outcome, t.Outcome))
	}
	for _, id := range t.Findings {
		if !slices.ContainsFunc(result.Findings, func(f verdict.Finding) bool { return f.ID == id }) {
			m.Verdict = append(m.Verdict, id+" was not found")
		}
	}
	if len(t.Increments) > 0 && !sameNames(t.Increments, result.Guilty) {
		m.Attribution = append(m.Attribution, fmt.Sprintf("guilty are %v, not %v", result.Guilty, t.Increments))
	}
	if t.Phase != "" && !slices.ContainsFunc(result.Findings, func(f verdict.Finding) bool {
		return f.Blamed() && f.Phase == t.Phase
	}) {
		m.Attribution = append(m.Attribution, "no finding was seen at phase "+t.Phase)
	}
	if t.BootStage != "" && !slices.ContainsFunc(result.Boots, func(b Boot) bool { return b.Stage == t.BootStage }) {
		m.Diagnosis = append(m.Diagnosis, "no boot ended in stage "+t.BootStage)
	}
	m.WayBack = t.noWayBack(result)
	return m
}

// noWayBack tells which of the ways back that are there was not seen to work.
func (t Truth) noWayBack(result Result) (misses []string) {
	if t.Fallback == scenario.FallbackProven {
		if result.Fallback == nil || !result.Fallback.Proven {
			misses = append(misses, "no fallback was proven")
		}
		for _, f := range result.Fallbacks {
			if !f.Proven {
				misses = append(misses, "no fallback was proven after "+f.Increment)
			}
		}
	}
	if t.Rescue == scenario.RescueFound && (result.Rescue == nil || !result.Rescue.Found) {
		misses = append(misses, "no rescue was found")
	}
	return misses
}

// Check returns the truth with what a result makes of it.
func (t Truth) Check(result Result) Truth {
	m := t.Misses(result)
	t.Mismatch = slices.Concat(m.Verdict, m.Attribution, m.Diagnosis, m.WayBack)
	t.Holds = len(t.Mismatch) == 0
	return t
}

func sameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
