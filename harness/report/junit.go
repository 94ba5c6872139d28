package report

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/patchlab/patchlab/harness/printable"
	"github.com/patchlab/patchlab/harness/verdict"
)

// Spec is how one spec of a suite ended, for JUnit.
type Spec struct {
	Phase   string
	Name    string
	Failed  bool
	Skipped bool
	Seconds float64
	Message string
}

const (
	maxMessage      = 300 // runes in one line
	maxMessageLines = 60
)

type testSuites struct {
	XMLName  xml.Name    `xml:"testsuites"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Time     string      `xml:"time,attr"`
	Suites   []testSuite `xml:"testsuite"`
}

type testSuite struct {
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Skipped  int        `xml:"skipped,attr"`
	Time     string     `xml:"time,attr"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	Time    string   `xml:"time,attr"`
	Failure *failure `xml:"failure,omitempty"`
	Error   *failure `xml:"error,omitempty"`
	Skipped *skipped `xml:"skipped,omitempty"`
	Out     string   `xml:"system-out,omitempty"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

type skipped struct{}

// JUnit renders a result for CI servers: a test suite per phase with a case per spec, and one with a case per finding,
// in which those that make the outcome fail, and one for the verdict itself.
func JUnit(result Result, specs []Spec) ([]byte, error) {
	all := testSuites{Name: "patchlab " + clean(result.Scenario)}
	for _, phase := range phasesOf(specs) {
		all.Suites = append(all.Suites, suiteOf(phase, specs))
	}
	all.Suites = append(all.Suites, findingsSuite(result))
	seconds := 0.0
	for _, p := range result.Phases {
		seconds += p.Seconds
	}
	all.Time = jtime(seconds)
	for _, s := range all.Suites {
		all.Tests, all.Failures, all.Errors = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors
	}
	out, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering JUnit: %w", err)
	}
	return append([]byte(xml.Header), append(out, '\n')...), nil
}

// phasesOf lists the phases in the order in which their specs ran.
func phasesOf(specs []Spec) []string {
	var phases []string
	seen := map[string]bool{}
	for _, s := range specs {
		if !seen[s.Phase] {
			phases = append(phases, s.Phase)
		}
		seen[s.Phase] = true
	}
	return phases
}

func suiteOf(phase string, specs []Spec) testSuite {
	suite := testSuite{Name: clean(phase)}
	seconds := 0.0
	for _, s := range specs {
		if s.Phase != phase {
			continue
		}
		c := testCase{Class: "patchlab." + clean(phase), Name: clean(s.Name), Time: jtime(s.Seconds)}
		switch {
		case s.Failed:
			c.Failure = &failure{Message: printable.Line(s.Message, maxMessage), Text: block(s.Message)}
			suite.Failures++
		case s.Skipped:
			c.Skipped = &skipped{}
			suite.Skipped++
		}
		suite.Cases = append(suite.Cases, c)
		seconds += s.Seconds
	}
	suite.Tests, suite.Time = len(suite.Cases), jtime(seconds)
	return suite
}

// findingsSuite has the verdict as its first case, so that a run without findings is a test, too, and a fault of the lab
// is an error rather than a failure.
func findingsSuite(result Result) testSuite {
	suite := testSuite{Name: "findings", Time: jtime(0)}
	first := testCase{Class: "patchlab.verdict", Name: "outcome", Time: jtime(0), Out: clean(Headline(result))}
	switch result.Outcome {
	case verdict.Pass:
	case verdict.Testbed, verdict.Interrupted:
		first.Error = &failure{Message: clean(Headline(result)), Text: block(result.Reason)}
		suite.Errors++
	default:
		first.Failure = &failure{Message: clean(Headline(result))}
		suite.Failures++
	}
	suite.Cases = append(suite.Cases, first)
	for _, f := range result.Findings {
		c := testCase{Class: "patchlab." + f.ID, Name: clean(f.Title), Time: jtime(0)}
		var lines []string
		for _, d := range details(f) {
			lines = append(lines, d.String())
		}
		text := strings.Join(lines, "\n")
		if f.Blamed() {
			c.Failure = &failure{Message: clean(f.ID + " " + f.Title), Text: text}
			suite.Failures++
		} else {
			c.Out = text
		}
		suite.Cases = append(suite.Cases, c)
	}
	suite.Tests = len(suite.Cases)
	return suite
}

func clean(text string) string { return printable.Line(text, maxMessage) }

func block(text string) string {
	if text == "" {
		return ""
	}
	return strings.Join(printable.Lines(text, maxMessageLines, maxMessage), "\n")
}

func jtime(seconds float64) string { return fmt.Sprintf("%.3f", seconds) }
