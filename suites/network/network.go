// Package network holds the promises about listening sockets: what was served is served, by the same service, at the same
// addresses, and nothing else is open.
package network

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/suites/lab"
)

// Specs declares the suite.
func Specs() {
	Describe("network", lab.Network, func() {
		It("listens on every port and address as before", func() {
			Expect(lab.Drifts(fact.KindPort)).To(lab.HaveNoDrift(lab.Lost))
		})

		It("opens no port that was closed", func() {
			Expect(lab.Drifts(fact.KindPort)).To(lab.HaveNoDrift(lab.Appeared))
		})

		It("serves every port with the same service, program and user", func() {
			Expect(lab.Drifts(fact.KindPort)).To(lab.HaveNoDrift(lab.Altered("unit", "executable", "user")))
		})
	})
}
