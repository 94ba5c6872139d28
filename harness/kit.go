package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/patchlab/patchlab/harness/helper"
	"github.com/patchlab/patchlab/harness/probe"
)

// KitCache is where the kits of helpers are kept below the cache's directory.
func KitCache(cacheDir string) string { return filepath.Join(cacheDir, "helpers") }

// errNoKit means that nobody knows here how a helper is made.
var errNoKit = errors.New("there is no way to make a helper here")

// kit finds what helpers of the run's image boot, or has it made of the image's disk: the kernel of a given state, or of what the
// patch left, is not known to boot.
func (r *run) kit(ctx context.Context, p *phase) (helper.Kit, error) {
	if r.lab.Kit == nil {
		return helper.Kit{}, errNoKit
	}
	digest := probe.Digest()
	base := filepath.Join(KitCache(r.lab.CacheDir), r.stands[0].Digest+"-"+digest[:min(16, len(digest))])
	kit := helper.Kit{Kernel: base + ".kernel", Initrd: base + ".initrd"}
	if isThere(kit) {
		used(kit.Kernel, r.lab.Now())
		used(kit.Initrd, r.lab.Now())
		return kit, nil
	}
	waiting := func() { p.note("another run is making the helper's kernel ready") }
	unlockKernel, err := lockKnown(ctx, kit.Kernel, waiting)
	if err != nil {
		return helper.Kit{}, err
	}
	defer func() { _ = unlockKernel() }() // it was a lock
	unlockInitrd, err := lockKnown(ctx, kit.Initrd, waiting)
	if err != nil {
		return helper.Kit{}, err
	}
	defer func() { _ = unlockInitrd() }() // as above
	if isThere(kit) {
		return kit, nil
	}
	scratch := kit.Kernel + halfWritten
	made, err := r.lab.Kit(ctx, r.stands[0], scratch)
	if err := errors.Join(err, removeIfThere(scratch)); err != nil {
		return helper.Kit{}, err
	}
	if err := errors.Join(writeWhole(kit.Initrd, made.Initrd), writeWhole(kit.Kernel, made.Kernel)); err != nil {
		return helper.Kit{}, fmt.Errorf("keeping the helper's kernel: %w", err)
	}
	return kit, nil
}

func isThere(kit helper.Kit) bool {
	_, kernel := os.Stat(kit.Kernel)
	_, initrd := os.Stat(kit.Initrd)
	return kernel == nil && initrd == nil
}
