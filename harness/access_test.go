package harness_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/verdict"
)

func TestEveryCloneOfAnImportedImageGetsItsSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		var seeds []string
		start := lab.driver.OnStart
		lab.driver.OnStart = func(spec hypervisor.DomainSpec) error {
			seeds = append(seeds, spec.Seed)
			if len(spec.Credentials) > 0 {
				t.Errorf("%s gets credentials that it does not know", spec.Name)
			}
			return start(spec)
		}
		wired := lab.lab()
		open := wired.Image
		wired.Image = func(ctx context.Context, name string) (image.Image, func() error, error) {
			opened, release, err := open(ctx, name)
			opened.Access = image.Access{Way: image.WaySeed, User: "debian", Instance: "patchlab-web"}
			return opened, release, err
		}
		result, err := harness.Run(t.Context(), wired, scripted("good"), lab.options())
		if err != nil || result.Outcome != verdict.Pass {
			t.Fatalf("outcome %s (%s), error %v", result.Outcome, result.Reason, err)
		}
		if len(seeds) != 2 || !strings.HasSuffix(seeds[0], "/seed-baseline.iso") || !strings.HasSuffix(seeds[1], "/seed-run.iso") {
			t.Errorf("seeds %q, want one for the baseline and one for the run", seeds)
		}
		lab.checkNothingLeft()
	})
}
