package image

import (
	"context"
	"fmt"
	"strings"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/mirror"
)

// Plan says what a build would do.
type Plan struct {
	Name     string   `json:"name"`
	UpToDate bool     `json:"up_to_date"` // nothing would be done
	Steps    []string `json:"steps"`
	Packages []string `json:"packages"` // asked for; their dependencies come with them
	Lacks    []string `json:"lacks"`    // packages that must be installed on the host first
	Store    string   `json:"store"`
}

// Plan tells what Build would do, without doing any of it.
func (b *Builder) Plan(ctx context.Context, m manifest.Manifest, rebuild bool) (Plan, error) {
	_, current, err := b.Store.UpToDate(ctx, m)
	if err != nil {
		return Plan{}, err
	}
	r := recipe{manifest: m}
	plan := Plan{
		Name: m.Name, UpToDate: current && !rebuild, Steps: []string{}, Packages: r.packages(), Lacks: []string{}, Store: b.Store.Dir,
	}
	if plan.UpToDate {
		return plan, nil
	}
	plan.Lacks = append(plan.Lacks, missingTools(b.Unshare)...)
	how := "as root"
	if b.Unshare {
		how = "in a user namespace"
	}
	plan.Steps = []string{
		fmt.Sprintf("install %d packages and what they depend on from %s with mmdebstrap, %s",
			len(plan.Packages), strings.Join(r.sources(mirror.AliasMain, mirror.AliasSecurity), "; "), how),
		fmt.Sprintf("write them to a disk of %s with %s", m.Disk, partitions(m)),
		fmt.Sprintf("boot it once (%s, %s of memory) to install its boot loader", m.Firmware, m.Memory),
	}
	if m.Setup != "" {
		plan.Steps = append(plan.Steps, "run "+m.Setup+" in it")
	}
	check := "boot it again by its own boot loader, on an overlay, and check that nothing in it has failed"
	if len(m.Services) > 0 {
		check += " and that " + strings.Join(m.Services, ", ") + " are active"
	}
	plan.Steps = append(plan.Steps, check, "hash the disk and move it into "+b.Store.Dir)
	return plan, nil
}

func partitions(m manifest.Manifest) string {
	if m.Firmware == hypervisor.EFI {
		return "an EFI system partition and one of ext4"
	}
	return "one ext4 partition"
}
