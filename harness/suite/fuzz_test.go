package suite

import (
	"strings"
	"testing"
)

// FuzzReport reads what a suite's process left: it may quote a guest anywhere.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`[{"SuiteSucceeded":true,"SpecReports":[{"LeafNodeType":"It","LeafNodeText":"serves","State":"passed","RunTime":5}]}]`))
	f.Add([]byte(`[{"SpecReports":[{"LeafNodeType":"It","State":"failed","Failure":{"Message":"\u001b[31mx"},"ReportEntries":[{"Name":"patchlab-subjects","Value":{"AsJSON":"[{\"kind\":\"unit\",\"name\":\"a\"}]"}}]}]}]`))
	f.Add([]byte(`[{"SuiteSucceeded":false,"SpecialSuiteFailureReasons":["x"],"SpecReports":null}]`))
	f.Fuzz(func(t *testing.T, content []byte) {
		report, err := parseReport(content, "")
		if err == nil && len(report.Specs) == 0 {
			t.Error("a report without specs is taken for one")
		}
		if n := report.Passed + report.Failed + report.Skipped; n != len(report.Specs) {
			t.Errorf("%d specs, but %d counted", len(report.Specs), n)
		}
		for _, s := range report.Specs {
			if s.Name == "" || strings.ContainsAny(s.Name+s.Message+s.Lost, "\x1b\r\x07") {
				t.Errorf("the spec %+v would reach a terminal", s)
			}
		}
	})
}
