package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/printable"
)

// Report is what the suites of one phase have found.
type Report struct {
	Specs   []Spec  `json:"specs"` // in the order in which they ran
	Passed  int     `json:"passed"`
	Failed  int     `json:"failed"`
	Skipped int     `json:"skipped"` // also pending ones; specs that a label filter leaves out do not count
	Seconds float64 `json:"seconds"`
}

// Spec is one promise and whether it was kept.
type Spec struct {
	Name    string   `json:"name"` // "services keeps every service active that was active"
	Suite   string   `json:"suite"`
	Labels  []string `json:"labels,omitempty"`
	State   State    `json:"state"`
	Seconds float64  `json:"seconds"`
	// Message of a failed spec, without control characters.
	Message  string `json:"message,omitempty"`
	Location string `json:"location,omitempty"` // FILE:LINE of the failure
	// Subjects are the facts that a failed spec is about.
	Subjects []fact.Key `json:"subjects,omitempty"`
	// Expectation is the index in the handoff's Expect of what the spec checks, -1 for other specs.
	Expectation int `json:"expectation"`
	// Lost says how the guest was lost while the spec ran: then its failure says nothing.
	Lost string `json:"lost,omitempty"`
}

// State of a spec.
type State string

// The states.
const (
	Passed  State = "passed"
	Failed  State = "failed"
	Skipped State = "skipped"
)

// maxReport bounds a report file. The built-in suites write some 100 KB.
const maxReport = 64 << 20

// clean bounds a text in which a guest may be quoted, and makes it safe to show.
func clean(text string) string {
	const lines, runes = 60, 400
	return strings.TrimSpace(strings.Join(printable.Lines(text, lines, runes), "\n"))
}

// readReport reads ginkgo's JSON report. suite is the name for specs of a compiled suite; built-in ones name it by their
// outermost container.
func readReport(path, suite string) (Report, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return Report{}, errors.New("there is no report")
	}
	if err != nil {
		return Report{}, fmt.Errorf("reading the report: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	content, err := io.ReadAll(io.LimitReader(file, maxReport+1))
	if err != nil {
		return Report{}, fmt.Errorf("reading the report: %w", err)
	}
	return parseReport(content, suite)
}

func parseReport(content []byte, suite string) (Report, error) {
	if len(content) > maxReport {
		return Report{}, fmt.Errorf("reading the report: longer than %d bytes", maxReport)
	}
	var parts []types.Report
	if err := json.Unmarshal(content, &parts); err != nil {
		return Report{}, fmt.Errorf("reading the report: %w", err)
	}
	if len(parts) == 0 {
		return Report{}, errors.New("the report is empty")
	}
	var report Report
	var reasons []string
	for _, part := range parts {
		for _, s := range part.SpecReports {
			report.take(s, suite)
		}
		report.Seconds += part.RunTime.Seconds()
		if !part.SuiteSucceeded {
			reasons = append(reasons, part.SpecialSuiteFailureReasons...)
		}
	}
	switch {
	case report.Failed == 0 && len(reasons) > 0:
		return report, fmt.Errorf("the suite failed as a whole: %s", clean(strings.Join(reasons, "; ")))
	case len(report.Specs) == 0:
		return report, errors.New("no spec ran: the suite declares none, or the label filter leaves none")
	default:
		return report, nil
	}
}

// take adds one of ginkgo's reports, unless it is of no interest: a node around the specs that went well, or a spec that
// was not asked for.
func (r *Report) take(s types.SpecReport, suite string) {
	around := s.LeafNodeType != types.NodeTypeIt
	filtered := s.State == types.SpecStateSkipped && s.Failure.Message == ""
	if around && !s.State.Is(types.SpecStateFailureStates) || filtered {
		return
	}
	spec := Spec{
		Name: printable.Line(s.FullText(), longestName), Suite: suite, Labels: s.Labels(), Seconds: s.RunTime.Seconds(), Expectation: -1,
	}
	if spec.Name == "" {
		spec.Name = "[" + s.LeafNodeType.String() + "]"
	}
	if spec.Suite == "" && len(s.ContainerHierarchyTexts) > 0 {
		spec.Suite = s.ContainerHierarchyTexts[0]
	}
	spec.Expectation = expectation(spec.Labels)
	switch {
	case s.State == types.SpecStatePassed:
		spec.State = Passed
	case s.State.Is(types.SpecStateSkipped | types.SpecStatePending):
		spec.State, spec.Message = Skipped, clean(s.Failure.Message)
	default: // failed, panicked, timed out, interrupted, or a state that is yet to be invented
		spec.State = Failed
		spec.Message = clean(message(s))
		spec.Location = s.Failure.Location.String()
		spec.tie(s.ReportEntries)
	}
	r.add(Report{Specs: []Spec{spec}})
}

// longestName is what one still reads as a name, in runes.
const longestName = 300

func message(s types.SpecReport) string {
	text := s.Failure.Message
	if s.Failure.ForwardedPanic != "" {
		text += ": " + s.Failure.ForwardedPanic
	}
	if s.State != types.SpecStateFailed {
		text = s.State.String() + ": " + text
	}
	return text
}

func expectation(labels []string) int {
	for _, l := range labels {
		number, found := strings.CutPrefix(l, "expect-")
		if i, err := strconv.Atoi(number); found && err == nil && handoff.ExpectLabel(i) == l {
			return i
		}
	}
	return -1
}

// tie reads what the spec has attached. Entries of others are none of our business, whatever their form.
func (s *Spec) tie(entries types.ReportEntries) {
	for _, e := range entries {
		switch e.Name {
		case handoff.EntrySubjects:
			var keys []fact.Key
			if json.Unmarshal([]byte(e.Value.AsJSON), &keys) == nil {
				s.Subjects = append(s.Subjects, keys...)
			}
		case handoff.EntryLost:
			var text string
			if json.Unmarshal([]byte(e.Value.AsJSON), &text) == nil {
				s.Lost = clean(text)
			}
		}
	}
	slices.SortFunc(s.Subjects, fact.Key.Compare)
	s.Subjects = slices.Compact(s.Subjects)
}

// add appends specs and counts them.
func (r *Report) add(other Report) {
	r.Specs = append(r.Specs, other.Specs...)
	r.Seconds += other.Seconds
	for _, s := range other.Specs {
		switch s.State {
		case Passed:
			r.Passed++
		case Failed:
			r.Failed++
		case Skipped:
			r.Skipped++
		}
	}
}

// labFault is an error if a spec failed because the guest could not be asked.
func (r *Report) labFault(title string) error {
	for _, s := range r.Specs {
		if s.State == Failed && s.Lost != "" {
			return fmt.Errorf("%s could not ask the guest in %q: %w: %s", title, s.Name, guest.ErrLost, s.Lost)
		}
	}
	return nil
}
