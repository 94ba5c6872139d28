// Package boot holds the promises about a guest that has started: it went all the way, in the boot that it should be in.
package boot

import (
	"fmt"
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
			if state := strings.TrimSpace(string(answer.Stdout)); state != "active" {
				Fail(fmt.Sprintf("default.target is %q, not active", state))
			}
		}, lab.Timeout())

		It("has no unit failed that had not failed before", func() {
			Expect(lab.Drifts(fact.KindUnit)).To(lab.HaveNoDrift(lab.Became("active", "failed")))
		})

		It("has every file system mounted that was mounted", func() {
			Expect(lab.Drifts(fact.KindMount)).To(lab.HaveNoDrift(lab.Lost))
		})

		if boots := lab.Boots(); len(boots) > 0 {
			It("has not rebooted by itself since it settled", lab.AsksGuest, func(ctx SpecContext) {
				if id := bootID(ctx); id != boots[len(boots)-1].ID {
					Fail(fmt.Sprintf("the boot id is %s, but was %s when the guest had settled", id, boots[len(boots)-1].ID))
				}
			}, lab.Timeout())
		}
		if lab.Reboot() != "" {
			It("really rebooted", lab.AsksGuest, func(ctx SpecContext) {
				id := bootID(ctx)
				for _, earlier := range lab.Boots()[:max(0, len(lab.Boots())-1)] {
					if id == earlier.ID {
						Fail(fmt.Sprintf("the boot id is still %s, as in the boot before (%s)", id, earlier.Mode))
					}
				}
			}, lab.Timeout())

			It("runs the kernel that the boot loader starts by default", func() {
				if defaultRuns(lab.Now()) || !defaultRuns(lab.Baseline()) {
					return // or it was so before: not known, or a custom boot
				}
				running, byDefault := kernels(lab.Now())
				lab.Blame(running.Key(), byDefault.Key())
				Fail(fmt.Sprintf("running is %q, and the boot loader's default %q", running.Attribute("release"), byDefault.Attribute("release")))
			})
		}
	})
}

// defaultRuns tells whether the running kernel is the default one.
func defaultRuns(facts fact.Set) bool {
	running, byDefault := kernels(facts)
	return running.Attribute("release") != "" && running.Attribute("release") == byDefault.Attribute("release")
}

func kernels(facts fact.Set) (running, byDefault fact.Fact) {
	running, byDefault = fact.Fact{Kind: fact.KindKernel, Name: "running"}, fact.Fact{Kind: fact.KindKernel, Name: "default"}
	for _, f := range []*fact.Fact{&running, &byDefault} {
		if known, found := facts.Get(f.Kind, f.Name); found {
			*f = known
		}
	}
	return running, byDefault
}

func bootID(ctx SpecContext) string {
	GinkgoHelper()
	answer := lab.Run(ctx, "cat /proc/sys/kernel/random/boot_id")
	Expect(answer.ExitCode).To(BeZero(), "exit code of reading the boot id, which says %q", answer.Stderr)
	return strings.TrimSpace(string(answer.Stdout))
}
