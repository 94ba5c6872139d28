package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
)

// FuzzRendering writes a guest's words wherever a report quotes one: the XML stays XML, and nothing reaches a terminal.
func FuzzRendering(f *testing.F) {
	f.Add("nginx.service", "failed", "a cause", 80)
	f.Add("\x1b]0;t\x07</testsuites>&<![CDATA[", "\xff\xfe\u202e\x00", "line\nline\r\n", 20)
	f.Fuzz(func(t *testing.T, name, state, cause string, width int) {
		result := report.Result{
			Schema: 1, Outcome: verdict.Regression, Reason: cause, Scenario: name, Guilty: []string{name},
			Findings: []verdict.Finding{{
				ID: "PL101", Severity: verdict.Error, Title: name + " is lost", Subject: fact.Key{Kind: "unit", Name: name}, Was: state,
				Is: cause, Cause: cause, Package: name, Evidence: []verdict.Evidence{{File: name, Lines: []string{state, cause}}},
			}},
			Boots: []report.Boot{{Mode: state, Entry: name, Stage: state, Cause: cause}}, Packages: []report.PackageChange{{Name: name, From: state, To: cause}},
			Advice: report.Advice{Restart: []report.Restart{{Unit: name, Reason: cause}}, Reboot: report.RebootAdvice{Reasons: []string{cause}}},
		}
		summary := report.Summary(result, report.View{Width: width % 300})
		if strings.ContainsAny(summary, "\x1b\x07\r\x00\u202e") {
			t.Errorf("the summary holds what a terminal acts on: %q", summary)
		}
		junit, err := report.JUnit(result, []report.Spec{{Phase: state, Name: name, Failed: true, Message: cause}})
		if err != nil {
			t.Fatal(err)
		}
		for decoder := xml.NewDecoder(bytes.NewReader(junit)); ; {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("the JUnit file is no XML: %v\n%s", err, junit)
			}
		}
		written, err := report.Marshal(result)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := report.Unmarshal(written); err != nil {
			t.Errorf("the result cannot be read again: %v", err)
		}
	})
}
