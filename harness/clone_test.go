package harness_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/verdict"
)

func TestEveryCloneOfAnEFIImageHasItsOwnVariables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		var clones []string
		start := lab.driver.OnStart
		lab.driver.OnStart = func(spec hypervisor.DomainSpec) error {
			was, err := os.ReadFile(spec.Variables.Path)
			if err != nil {
				return err
			}
			name := filepath.Base(spec.Variables.Path)
			clones = append(clones, name+" was "+string(was))
			if err := os.WriteFile(spec.Variables.Path, []byte("used in "+name), 0o600); err != nil { // as firmware does
				return err
			}
			return start(spec)
		}
		wired := lab.lab()
		open := wired.Image
		wired.Image = func(ctx context.Context, name string) (image.Image, func() error, error) {
			opened, release, err := open(ctx, name)
			opened.Firmware, opened.Variables, opened.VariablesSHA256 = hypervisor.EFI, filepath.Join(lab.dir, "image.fd"), "some"
			return opened, release, err
		}
		if err := os.WriteFile(filepath.Join(lab.dir, "image.fd"), []byte("the image's"), 0o600); err != nil {
			t.Fatal(err)
		}
		result, err := harness.Run(t.Context(), wired, withGiven(scripted("good")), lab.options())
		if err != nil || result.Outcome != verdict.Pass {
			t.Fatalf("outcome %s (%s), error %v", result.Outcome, result.Reason, err)
		}
		want := []string{"overlay.fd was the image's", "baseline.fd was used in overlay.fd", "disk.fd was used in overlay.fd"}
		if diff := cmp.Diff(want, clones); diff != "" {
			t.Errorf("the clones' variables (-want +got):\n%s", diff)
		}
		lab.checkNothingLeft()
	})
}
