// Package boot holds the promises about a guest that has started: it went all the way, in the boot that it should be in.
package boot

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/suites/lab"
)

// Specs declares the suite.
func Specs() {
	Describe("boot", lab.Boot, func() {
		It("reaches its default target", lab.AsksGuest, func(ctx SpecContext) {
			answer := lab.Run(ctx, "systemctl is-active default.target")
			Expect(strings.TrimSpace(string(answer.Stdout))).To(Equal("active"), "state of default.target")
		}, lab.Timeout())

		It("has no unit failed that had not failed before", func() {
			Expect(lab.Drifts(fact.KindUnit)).To(lab.HaveNoDrift(lab.Became("active", "failed")))
		})

		It("has every file system mounted that was mounted", func() {
			Expect(lab.Drifts(fact.KindMount)).To(lab.HaveNoDrift(lab.Lost))
		})

		if len(lab.Boots()) > 0 {
			It("has not rebooted by itself since it settled", lab.AsksGuest, func(ctx SpecContext) {
				boots := lab.Boots()
				Expect(bootID(ctx)).To(Equal(boots[len(boots)-1].ID), "boot id")
			}, lab.Timeout())
		}
		if lab.Reboot() != "" {
			It("really rebooted", lab.AsksGuest, func(ctx SpecContext) {
				boots := lab.Boots()
				Expect(boots).NotTo(BeEmpty(), "boots so far")
				for _, earlier := range boots[:len(boots)-1] {
					Expect(bootID(ctx)).NotTo(Equal(earlier.ID), "boot id, which must differ from that of an earlier boot")
				}
			}, lab.Timeout())
		}
		if knowsDefault() && freshlyBooted() {
			It("runs the kernel that the boot loader starts by default", func() {
				running, _ := lab.Now().Get(fact.KindKernel, "running")
				byDefault, found := lab.Now().Get(fact.KindKernel, "default")
				lab.Blame(running.Key(), fact.Key{Kind: fact.KindKernel, Name: "default"})
				Expect(found).To(BeTrue(), "it is no longer known which kernel the boot loader would start")
				Expect(running.Attribute("release")).To(Equal(byDefault.Attribute("release")), "running kernel")
			})
		}
	})
}

func bootID(ctx SpecContext) string {
	GinkgoHelper()
	answer := lab.Run(ctx, "cat /proc/sys/kernel/random/boot_id")
	Expect(answer.ExitCode).To(BeZero(), "exit code of reading the boot id, which says %q", answer.Stderr)
	return strings.TrimSpace(string(answer.Stdout))
}

// knowsDefault tells whether the guest's boot loader could be read before the patch or now.
func knowsDefault() bool {
	_, before := lab.Baseline().Get(fact.KindKernel, "default")
	_, now := lab.Now().Get(fact.KindKernel, "default")
	return before || now
}

// freshlyBooted tells whether the running kernel should be the default one: after a new kernel is installed, it is not
// until the reboot.
func freshlyBooted() bool { return lab.Reboot() != "" || len(lab.Moved()) == 0 }
