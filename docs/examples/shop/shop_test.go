// Package shop is a suite of one's own: what the owners of a web shop want to hold before a patch and after it.
package shop

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/suites/lab"
)

func TestShop(t *testing.T) { lab.RunSpecs(t, "shop") }

var _ = Describe("the shop", func() {
	It("serves its front page", func(ctx SpecContext) {
		page, err := lab.HTTPGet(ctx, "http://127.0.0.1/")
		Expect(err).NotTo(HaveOccurred())
		Expect(page.Status).To(Equal(200))
	}, lab.Timeout())

	It("keeps its web server's configuration valid", func(ctx SpecContext) {
		Expect(lab.Run(ctx, "nginx -t")).To(HaveField("ExitCode", 0))
	}, lab.Timeout())

	It("listens, and moves nothing of its configuration", func() {
		Expect("tcp/80").To(lab.BeListening())
		Expect(lab.Drifts(fact.KindFile)).To(lab.HaveNoDrift(lab.Named("/etc/nginx/*")))
	})
})
