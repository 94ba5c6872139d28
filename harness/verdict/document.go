package verdict

import (
	"fmt"
	"strings"
)

// Document renders the catalogue as docs/findings.md.
func Document() string {
	var b strings.Builder
	b.WriteString("# Findings\n\n" +
		"Every finding of a run has one of these ids; `patchlab explain PL103` prints its entry. Only a finding of severity\n" +
		"error that is blamed on the patch makes the outcome a regression. A case may be milder or harder than the severity\n" +
		"given here; the finding itself says.\n\n" +
		"This file is made from `harness/verdict/catalogue.go`: `go test ./harness/verdict -update`.\n")
	group := ""
	for _, e := range Catalogue() {
		if e.Group() != group {
			group = e.Group()
			fmt.Fprintf(&b, "\n## %sxx %s\n", e.ID[:3], group)
		}
		fmt.Fprintf(&b, "\n### %s %s (%s)\n\n%s\n\nWhat to do: %s\n", e.ID, e.Title, e.Severity, e.Meaning, e.Remedy)
	}
	return b.String()
}
