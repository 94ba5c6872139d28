// Package zoo scores verdicts: of patches whose right verdict is known, how many were judged as they ought to be.
package zoo

import (
	"cmp"
	"slices"

	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
)

// Schema is the version of [Card]. Fields are added within a version, never changed or removed.
const Schema = 1

// Card is the score card.
type Card struct {
	Schema int `json:"schema"`
	// Detection: of the patches that do harm, those that got their outcome and every finding that they must.
	Detection Score `json:"detection"`
	// FalseAlarms: of the harmless ones, those that did not pass. Here the best score is none.
	FalseAlarms Score `json:"false_alarms"`
	// Attribution: of those whose truth names increments or a phase, those of which the same were named.
	Attribution Score `json:"attribution"`
	// Diagnosis: of those whose truth names the stage in which the boot ends, those of which it was named.
	Diagnosis Score `json:"diagnosis"`
	// WayBack: of those whose truth says that there is a fallback or a rescue, those of which it was seen to work.
	WayBack Score `json:"way_back"`
	// Unjudged are cases about which the lab came to no verdict. They count nowhere else.
	Unjudged int         `json:"unjudged"`
	Seconds  float64     `json:"seconds"` // of all cases, one after the other
	Host     report.Host `json:"host"`
	Cases    []Case      `json:"cases"`
}

// Score is a part of a whole.
type Score struct {
	Count int `json:"count"`
	Of    int `json:"of"`
}

func (s *Score) add(counts bool) {
	s.Of++
	if counts {
		s.Count++
	}
}

// Case is what came of one.
type Case struct {
	Name     string          `json:"name"`
	Harmful  bool            `json:"harmful"`
	Outcome  verdict.Outcome `json:"outcome"`
	Findings []string        `json:"findings"` // ids, each once; sorted
	Truth    report.Truth    `json:"truth"`
	// Unjudged says why there is no verdict; empty for a case that has one.
	Unjudged string  `json:"unjudged,omitempty"`
	Seconds  float64 `json:"seconds"`
	RunDir   string  `json:"run_dir,omitempty"`

	misses report.Misses
	host   report.Host
}

// NewCase reads what came of a case from the result of its run. The truth is the scenario's.
func NewCase(name string, truth report.Truth, result report.Result, seconds float64) Case {
	c := Case{
		Name: name, Outcome: result.Outcome, Findings: []string{}, Truth: truth.Check(result), Seconds: seconds, RunDir: result.RunDir,
		misses: truth.Misses(result), host: result.Host,
	}
	c.Harmful = c.Truth.Outcome != verdict.Pass
	for _, f := range result.Findings {
		c.Findings = append(c.Findings, f.ID)
	}
	slices.Sort(c.Findings)
	c.Findings = slices.Compact(c.Findings)
	switch c.Outcome {
	case verdict.Pass, verdict.Regression, verdict.ApplyFailed, verdict.BootFailed:
	case verdict.Testbed, verdict.Interrupted:
		c.Unjudged = cmp.Or(result.Reason, string(c.Outcome))
	default:
		c.Unjudged = "it did not come to a result"
	}
	return c
}

// NewCard counts.
func NewCard(cases []Case) Card {
	card := Card{Schema: Schema, Cases: cases}
	for _, c := range cases {
		card.Seconds += c.Seconds
		if c.Unjudged != "" {
			card.Unjudged++
			continue
		}
		card.Host = c.host
		if c.Harmful {
			card.Detection.add(len(c.misses.Verdict) == 0)
		} else {
			card.FalseAlarms.add(c.Outcome != verdict.Pass)
		}
		if len(c.Truth.Increments) > 0 || c.Truth.Phase != "" {
			card.Attribution.add(len(c.misses.Attribution) == 0)
		}
		if c.Truth.BootStage != "" {
			card.Diagnosis.add(len(c.misses.Diagnosis) == 0)
		}
		if c.Truth.Fallback != "" || c.Truth.Rescue != "" {
			card.WayBack.add(len(c.misses.WayBack) == 0)
		}
	}
	return card
}

// Holds says that every truth does. A case without a verdict has none that holds.
func (c Card) Holds() bool {
	return !slices.ContainsFunc(c.Cases, func(of Case) bool { return of.Unjudged != "" || !of.Truth.Holds })
}
