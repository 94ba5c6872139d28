// Package expect turns a scenario's declarative checks into specs, one for each.
package expect

import (
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/suites/lab"
)

// Specs declares a spec for each expectation, labelled with its index.
func Specs() {
	Describe("expect", lab.Expectation, func() {
		for i, e := range lab.Expectations() {
			It(Title(e), Label(handoff.ExpectLabel(i)), func(ctx SpecContext) { check(ctx, e) }, lab.Timeout())
		}
	})
}

// Title says an expectation in words.
func Title(e scenario.Expect) string {
	switch {
	case e.Service != "":
		return e.Service + " is active"
	case e.Port != "":
		return e.Port + " is listening"
	case e.HTTP != nil:
		return fmt.Sprintf("%s answers %d%s", e.HTTP.URL, status(e.HTTP), quoted(" with ", e.HTTP.Contains))
	case e.Command != nil:
		as, says := "", ""
		if e.Command.User != "" {
			as = " as " + e.Command.User
		}
		if e.Command.Stdout != nil {
			says = fmt.Sprintf(" and says %q", *e.Command.Stdout)
		}
		return fmt.Sprintf("%q%s succeeds%s", e.Command.Run, as, says)
	case e.File != nil:
		return fmt.Sprintf("%s contains %q", e.File.Path, e.File.Contains)
	default:
		return "expects nothing"
	}
}

func quoted(word, text string) string {
	if text == "" {
		return ""
	}
	return word + fmt.Sprintf("%q", text)
}

func status(h *scenario.HTTP) int {
	if h.Status == 0 {
		return 200
	}
	return h.Status
}

func check(ctx SpecContext, e scenario.Expect) {
	switch {
	case e.Service != "":
		Expect(e.Service).To(lab.BeActive())
	case e.Port != "":
		Expect(e.Port).To(lab.BeListening())
	case e.HTTP != nil:
		checkHTTP(ctx, e.HTTP)
	case e.Command != nil:
		checkCommand(ctx, e.Command)
	case e.File != nil:
		content, err := lab.ReadFile(ctx, e.File.Path)
		if err != nil {
			Fail(fmt.Sprintf("reading %s: %v", e.File.Path, err))
		}
		if !strings.Contains(string(content), e.File.Contains) {
			Fail(fmt.Sprintf("%s does not contain %q. It begins: %q", e.File.Path, e.File.Contains, beginning(content)))
		}
	default:
		Fail("the expectation is empty")
	}
}

func checkHTTP(ctx SpecContext, h *scenario.HTTP) {
	answer, err := lab.HTTPGet(ctx, h.URL)
	if err != nil {
		Fail(fmt.Sprintf("asking for %s: %v", h.URL, err))
	}
	if answer.Status != status(h) {
		Fail(fmt.Sprintf("%s answers %d, not %d: %q", h.URL, answer.Status, status(h), beginning([]byte(answer.Body))))
	}
	if !strings.Contains(answer.Body, h.Contains) {
		Fail(fmt.Sprintf("%s does not contain %q. It begins: %q", h.URL, h.Contains, beginning([]byte(answer.Body))))
	}
}

func checkCommand(ctx SpecContext, c *scenario.Command) {
	result := lab.RunAs(ctx, c.User, c.Run)
	if result.ExitCode != 0 {
		says := beginning(append(result.Stderr, result.Stdout...))
		Fail(fmt.Sprintf("%q exits with %d and says %q", c.Run, result.ExitCode, says))
	}
	if c.Stdout == nil {
		return
	}
	if says, want := strings.TrimSpace(string(result.Stdout)), strings.TrimSpace(*c.Stdout); says != want {
		Fail(fmt.Sprintf("%q says %q, not %q", c.Run, beginning([]byte(says)), want))
	}
}

// beginning is what one can still read in a message.
func beginning(text []byte) string {
	const most = 300
	return string(text[:min(len(text), most)])
}
