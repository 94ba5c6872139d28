package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/gc"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/patch/proxy"
)

func newGCCommand(env *environment) *cobra.Command {
	var kept bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what runs left behind that were killed",
		Long: `Remove what runs and image builds left behind that were killed: domains, overlay disks, half-written files; what benches left; the
images of given states and the templates whose own image is gone; and what is known of unpatched guests and was not asked for in 60 days.
What is alive is not touched, and the evidence of dead runs stays.`,
		Example: "  patchlab gc",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return env.collect(cmd.Context(), kept) },
	}
	cmd.Flags().BoolVar(&kept, "kept", false, "also remove the guests that `run --keep` left running")
	return cmd
}

// collected is the result of `gc`.
type collected struct {
	gc.Swept
	Builds []string `json:"builds"` // images whose dead build left something
	// Derived are the images of given states that were half made or whose base is gone, as NAME/DIGEST.
	Derived []string `json:"derived"`
	// Templates are saved guests that were half made or whose image is gone, as NAME/DIGEST.
	Templates []string `json:"templates"`
}

func (e *environment) collect(ctx context.Context, kept bool) (err error) {
	host, err := e.openHost(ctx, func(note string) { _, _ = fmt.Fprintln(e.Stderr, "patchlab:", note) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Driver.Close()) }()
	result := collected{Builds: []string{}, Derived: []string{}, Templates: []string{}}
	var failures [5]error
	result.Swept, failures[0] = gc.Sweep(ctx, gc.Options{
		Drivers: []hypervisor.Driver{host.Driver}, RunsDir: e.Dirs.Runs, Kept: kept,
	})
	if failures[0] == nil { // a domain that is left may be using a build's disk
		images := &image.Store{Dir: e.Dirs.Images}
		var builds, derived []string
		builds, failures[1] = images.Sweep(ctx)
		result.Builds = append(result.Builds, builds...)
		given := harness.GivenStore(e.Dirs.Cache)
		derived, failures[2] = given.SweepDerived(ctx, images)
		result.Derived = append(result.Derived, derived...)
		derived, failures[4] = harness.TemplateStore(e.Dirs.Cache).SweepDerived(ctx, images, given)
		result.Templates = append(result.Templates, derived...)
	}
	var parts []string
	parts, failures[3] = proxy.Sweep(harness.PackageCache(e.Dirs.Cache), 0)
	halves, err := harness.SweepBaselines(harness.BaselineCache(e.Dirs.Cache), time.Now())
	disks, errDisks := harness.SweepBaselines(harness.FilesCache(e.Dirs.Cache), time.Now())
	kits, errKits := harness.SweepBaselines(harness.KitCache(e.Dirs.Cache), time.Now())
	rooms, sweeping := sweepRooms(e.Dirs.Cache)
	failures[3] = errors.Join(failures[3], err, errDisks, errKits, sweeping)
	result.Files = slices.Concat(result.Files, parts, halves, disks, kits, rooms)
	return errors.Join(e.render(result, text(result.table())), errors.Join(failures[:]...))
}

func (c collected) table() string {
	var b strings.Builder
	for _, kind := range []struct {
		name  string
		items []string
	}{{"domain", c.Domains}, {"file", c.Files}, {"build", c.Builds}, {"image", c.Derived}, {"template", c.Templates}} {
		for _, item := range kind.items {
			fmt.Fprintf(&b, "removed %-8s  %s\n", kind.name, item)
		}
	}
	if b.Len() == 0 {
		b.WriteString("nothing to remove\n")
	}
	return b.String()
}
