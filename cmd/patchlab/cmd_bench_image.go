package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/images"
)

const benchImageLong = `Make an image from its manifest, in a store of its own below the cache directory, and take it away again. The images that are there
are left alone. Its packages come from the mirror each time.`

// benchImageOptions are the flags of `patchlab bench image`.
type benchImageOptions struct {
	name string
	runs int
}

// imageDefaults are the options of so many builds.
func imageDefaults(runs int) benchImageOptions {
	return benchImageOptions{name: "debian-12-web", runs: runs}
}

func newBenchImageCommand(env *environment) *cobra.Command {
	options := imageDefaults(1)
	cmd := &cobra.Command{
		Use:               "image [NAME]",
		Short:             "Measure how long an image takes to be built",
		Long:              benchImageLong,
		Example:           "  patchlab bench image debian-12-minimal --runs 3",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeManifests,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				options.name = args[0]
			}
			result, err := env.benchImage(cmd.Context(), options)
			if err != nil {
				return err
			}
			return env.render(result, text(imageTable(result)))
		},
	}
	cmd.Flags().IntVar(&options.runs, "runs", options.runs, "how often it is built (`N`)")
	return cmd
}

func (e *environment) benchImage(ctx context.Context, options benchImageOptions) (result bench.Images, err error) {
	if options.runs < 1 {
		return result, usage(fmt.Errorf("--runs is %d, want at least 1", options.runs))
	}
	m, err := manifest.Load(images.FS, options.name)
	if err != nil {
		return result, usage(err)
	}
	if err := e.Dirs.Make(); err != nil {
		return result, err
	}
	room, leave, err := benchRoom(e.Dirs.Cache, "image")
	if err != nil {
		return result, labFault(ctx, err)
	}
	defer func() { err = errors.Join(err, leave()) }()
	store := &image.Store{Dir: filepath.Join(room, "images")}
	builder := &image.Builder{
		Store: store, Mirror: mirror.Find, NewKey: imageKey, Unshare: os.Getuid() != 0, Now: time.Now, Timeouts: timing.Default(),
	}
	closeHost, err := e.prepareBuilder(ctx, builder, m.Name)
	if err != nil {
		return result, labFault(ctx, err)
	}
	defer func() { err = errors.Join(err, closeHost()) }()
	var builds []bench.ImageBuild
	for range options.runs {
		busy, err := bench.Busy(ctx)
		if err != nil {
			return result, err
		}
		began := builder.Now()
		built, err := builder.Build(ctx, m, true)
		if err != nil {
			return result, labFault(ctx, err)
		}
		builds = append(builds, bench.ImageBuild{Seconds: builder.Now().Sub(began).Seconds(), Stages: built.Seconds, Busy: busy})
	}
	result = bench.SumImages(m.Name, builds)
	result.Accelerator, result.TranslationCacheMiB = string(builder.Accelerator), translationCache(builder.Accelerator)
	return result, nil
}

// imageTable renders the result for a person.
func imageTable(i bench.Images) string {
	var table figureTable
	var stages []string
	for name := range i.Image.Stages {
		stages = append(stages, name)
	}
	slices.SortFunc(stages, func(a, b string) int {
		return int(i.Image.Stages[b].Median - i.Image.Stages[a].Median) // the longest first
	})
	for _, name := range stages {
		table.row("  "+name, shownSeconds(i.Image.Stages[name]))
	}
	table.row("in all", shownSeconds(i.Image.Build))
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "builds of %s, median (least to most) of %d, seconds\n\n%s\n%s; %s\n", i.Name, i.Runs, &table,
		accelerated(i.Accelerator, i.TranslationCacheMiB), quietness(i.BusyCPUs))
	return b.String()
}
