// Package lab is what specs are written with: the facts before and after the patch, what moved between them, the guest to
// ask, matchers that fail in words, and labels.
//
// A suite of your own is a ginkgo suite whose test function is [RunSpecs]:
//
//	func TestShop(t *testing.T) { lab.RunSpecs(t, "shop") }
//
//	var _ = Describe("the shop", func() {
//		It("keeps its database listening", func() {
//			Expect("tcp/5432").To(lab.BeListening())
//		})
//		It("sells", func(ctx SpecContext) {
//			answer, err := lab.HTTPGet(ctx, "http://127.0.0.1/cart")
//			Expect(err).NotTo(HaveOccurred())
//			Expect(answer.Status).To(Equal(200))
//		}, lab.Timeout())
//		It("moves nothing below /etc/shop", func() {
//			Expect(lab.Drifts(fact.KindFile)).To(lab.HaveNoDrift(lab.Named("/etc/shop/*")))
//		})
//	})
//
// Compile it with "go test -c" and name the result in the scenario's suites. It is run before the patch too: a spec that
// fails there is old rot, and not blamed on the patch.
//
// State one promise about the guest in each spec, in words of those who run it. A guest that cannot be asked is a
// fault of the lab: the functions here record it, and the run ends as testbed, not as a regression.
package lab
