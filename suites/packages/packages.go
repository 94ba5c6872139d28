// Package packages holds the promises about what the package manager knows: nothing is lost, nothing is left half done.
package packages

import (
	"fmt"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/suites/lab"
)

// Specs declares the suite.
func Specs() {
	Describe("packages", lab.Packages, func() {
		It("keeps every package that was installed", func() {
			Expect(lab.Drifts(fact.KindPackage)).To(lab.HaveNoDrift(lab.AnyOf(lab.Lost,
				lab.Became("status", "config-files"), lab.Became("status", "not-installed"))))
		})

		It("leaves no package half configured", func() {
			broken := halfDone()
			if len(broken) == 0 {
				return
			}
			for _, f := range broken {
				lab.Blame(f.Key())
			}
			Fail("left half done: " + strings.Join(inWords(broken), ", "))
		})
	})
}

// halfDone lists packages that dpkg would have to finish and that it would not have had to finish before. It reads the
// facts, not the drifts: that a package is the candidate's own excuses its new version, never this.
func halfDone() []fact.Fact {
	unfinished := []string{"half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending"}
	return slices.DeleteFunc(lab.Facts(fact.KindPackage), func(f fact.Fact) bool {
		status := f.Attribute("status")
		before, _ := lab.Baseline().Get(f.Kind, f.Name)
		return !slices.Contains(unfinished, status) || before.Attribute("status") == status
	})
}

func inWords(packages []fact.Fact) []string {
	var lines []string
	for _, f := range packages {
		lines = append(lines, fmt.Sprintf("%s %s is %s", f.Name, f.Attribute("version"), f.Attribute("status")))
	}
	return lines
}
