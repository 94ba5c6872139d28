package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/images"
)

func newImageCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Build and look after the images that clones stand on",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageBuildCommand(env), newImageListCommand(env), newImageShowCommand(env), newImageRemoveCommand(env),
		newImageImportCommand(env), newImageExportCommand(env))
	return cmd
}

// imageBuildOptions are the flags of `image build`.
type imageBuildOptions struct {
	rebuild bool
	dryRun  bool
}

func newImageBuildCommand(env *environment) *cobra.Command {
	var opts imageBuildOptions
	cmd := &cobra.Command{
		Use:   "build NAME",
		Short: "Make an image from its manifest",
		Long: `Make an image from its manifest: install the packages from the mirror that the host's own APT uses, boot it once to
install its boot loader, boot it again to check it, and keep it with its digest. An image that is up to date is left alone.
What was interrupted leaves nothing behind. Set ` + mirror.Variable + ` to use another mirror.`,
		Example:           "  patchlab image build debian-12-web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeManifests,
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.buildImage(cmd.Context(), args[0], opts)
		},
	}
	cmd.Flags().BoolVar(&opts.rebuild, "rebuild", false, "make it anew even if it is up to date")
	cmd.Flags().BoolVar(&opts.dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func (e *environment) buildImage(ctx context.Context, name string, opts imageBuildOptions) error {
	m, err := manifest.Load(images.FS, name)
	if err != nil {
		return usage(err)
	}
	builder := &image.Builder{
		Store: &image.Store{Dir: e.Dirs.Images}, Mirror: mirror.Find, NewKey: imageKey, Unshare: os.Getuid() != 0, Now: time.Now,
		Timeouts: timing.Default(),
	}
	if opts.dryRun {
		return e.planImage(ctx, builder, m, opts.rebuild)
	}
	if found, ok, err := builder.Store.UpToDate(ctx, m); err != nil || (ok && !opts.rebuild) {
		return errors.Join(err, e.renderImage(found, "up to date"))
	}
	built, err := e.buildOn(ctx, builder, m, opts.rebuild)
	if err != nil {
		return err
	}
	return e.renderImage(built, "built")
}

// buildOn opens the host for as long as the build takes.
func (e *environment) buildOn(ctx context.Context, builder *image.Builder, m manifest.Manifest, rebuild bool) (built image.Image, err error) {
	closeHost, err := e.prepareBuilder(ctx, builder, m.Name)
	if err != nil {
		return image.Image{}, err
	}
	defer func() { err = errors.Join(err, closeHost()) }()
	if built, err = builder.Build(ctx, m, rebuild); err == nil {
		e.knowFiles(ctx, built, builder.Sink)
	}
	return built, err
}

// knowFiles reads the files of a new image while somebody waits for it anyway. The image is as good without.
func (e *environment) knowFiles(ctx context.Context, of image.Image, sink progress.Sink) {
	lab := harness.Lab{DiskFiles: diskFiles, CacheDir: e.Dirs.Cache, Now: time.Now}
	if err := lab.KnowFiles(ctx, of, sink); err != nil {
		sink.Emit(progress.Event{
			Kind: progress.Note, Run: of.Name, Step: "files", At: time.Now(), Text: "the image is there; its files are read by the first run on it",
		})
	}
}

// prepareBuilder gives a builder the host and somebody who watches, until the returned function is called.
func (e *environment) prepareBuilder(ctx context.Context, builder *image.Builder, name string) (closeHost func() error, err error) {
	if err := e.Dirs.Make(); err != nil {
		return nil, err
	}
	sink, closeSink := e.sink()
	host, err := e.openBuilder(ctx, func(text string) {
		sink.Emit(progress.Event{Kind: progress.Note, Run: name, Step: "host", Text: text, At: time.Now()})
	})
	if err != nil {
		closeSink()
		return nil, err
	}
	builder.Driver, builder.Sink = host.Driver, sink
	builder.Accelerator = host.Accelerator.Best
	builder.Timeouts = builder.Timeouts.Scaled(host.Accelerator.Slowness)
	return func() error {
		closeSink()
		return host.Driver.Close()
	}, nil
}

// openBuilder opens the host on which images are made. Their disks are written here, so that another machine is of no use.
func (e *environment) openBuilder(ctx context.Context, note func(string)) (harness.Host, error) {
	if machine, other := libvirt.Reaches(e.Connect); other {
		note("images are made on this host, with patchlab's own libvirt; a run uploads them to " + machine)
		return e.openPrivate(ctx, note)
	}
	return e.openHost(ctx, note)
}

// imageKey gives an image build's boots what runs give their clones.
func imageKey() (image.Key, error) {
	access, err := newAccess(image.Access{}, nil)
	return image.Key{AuthorizedKey: access.AuthorizedKey, Dialer: access.Dialer}, err
}

func (e *environment) planImage(ctx context.Context, builder *image.Builder, m manifest.Manifest, rebuild bool) error {
	plan, err := builder.Plan(ctx, m, rebuild)
	if err != nil {
		return err
	}
	return e.render(plan, func(w io.Writer) error {
		if plan.UpToDate {
			_, err := fmt.Fprintf(w, "%s is up to date: nothing would be done\n", plan.Name)
			return err
		}
		var text strings.Builder
		fmt.Fprintf(&text, "Building %s would\n", plan.Name)
		for i, step := range plan.Steps {
			fmt.Fprintf(&text, "  %d. %s\n", i+1, step)
		}
		fmt.Fprintf(&text, "Packages: %s\n", strings.Join(plan.Packages, " "))
		if len(plan.Lacks) > 0 {
			fmt.Fprintf(&text, "First install on this host: apt-get install --no-install-recommends %s\n", strings.Join(plan.Lacks, " "))
		}
		_, err := io.WriteString(w, text.String())
		return err
	})
}

func newImageListCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the images that are there and those that could be built",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return env.listImages() },
	}
}

// imageRow is a line of `image list`.
type imageRow struct {
	Name    string     `json:"name"`
	State   string     `json:"state"` // ready, outdated, not built
	Digest  string     `json:"digest,omitempty"`
	Release string     `json:"release"`
	MiB     int64      `json:"mib,omitempty"`
	Built   *time.Time `json:"built,omitempty"`
}

func (e *environment) listImages() error {
	rows, damaged := imageRows(&image.Store{Dir: e.Dirs.Images})
	return errors.Join(e.renderRows(rows), damaged)
}

func (e *environment) renderRows(rows []imageRow) error {
	return e.render(rows, func(w io.Writer) error {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "NAME\tSTATE\tDIGEST\tRELEASE\tMIB\tBUILT")
		for _, r := range rows {
			size, built := "-", "-"
			if r.Built != nil {
				size, built = fmt.Sprint(r.MiB), r.Built.Format(time.DateTime)
			}
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.State, or(r.Digest[:min(12, len(r.Digest))], "-"), r.Release, size, built)
		}
		return table.Flush()
	})
}

// imageRows returns what there is also when its error tells of damaged images.
func imageRows(store *image.Store) ([]imageRow, error) {
	stored, damaged := store.List()
	names, err := manifest.Names(images.FS)
	if err != nil {
		return nil, err
	}
	rows := []imageRow{}
	for _, i := range stored {
		row := imageRow{Name: i.Name, State: "ready", Digest: i.Digest, Release: i.Release, MiB: i.DiskSize >> 20, Built: &i.Built}
		if m, err := manifest.Load(images.FS, i.Name); err == nil && image.Recipe(m) != i.Recipe {
			row.State = "outdated"
		}
		rows = append(rows, row)
	}
	for _, name := range names {
		if slices.ContainsFunc(rows, func(r imageRow) bool { return r.Name == name }) {
			continue
		}
		m, err := manifest.Load(images.FS, name)
		if err != nil {
			return nil, err
		}
		rows = append(rows, imageRow{Name: name, State: "not built", Release: m.Release})
	}
	slices.SortStableFunc(rows, func(a, b imageRow) int { return strings.Compare(a.Name, b.Name) })
	return rows, damaged
}

func newImageShowCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Show an image and check its disk against its digest",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeImages(env),
		RunE:              func(cmd *cobra.Command, args []string) error { return env.showImage(cmd.Context(), args[0]) },
	}
}

func (e *environment) showImage(ctx context.Context, name string) error {
	store := &image.Store{Dir: e.Dirs.Images}
	found, err := store.Find(name)
	if err == nil {
		err = store.Verify(ctx, found)
	}
	if err != nil {
		return notBuiltIsUsage(err)
	}
	return e.renderImage(found, "verified")
}

// renderImage shows one image; state is one word for a reader.
func (e *environment) renderImage(i image.Image, state string) error {
	if i.Name == "" {
		return nil
	}
	return e.render(i, func(w io.Writer) error {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range [][2]string{
			{"image", i.Name + " (" + state + ")"},
			{"digest", i.Digest},
			{"disk", fmt.Sprintf("%s (%d MiB)", i.Disk, i.DiskSize>>20)},
			{"system", system(i)},
			{"access", i.Access.String()},
			{"machine", fmt.Sprintf("%s, %d MiB of memory, %d vCPU", i.Firmware, i.MemoryMiB, i.VCPUs)},
			{"services", strings.Join(i.Services, ", ")},
			{"packages", fmt.Sprint(len(i.Packages))},
			{"host key", i.HostKey},
			{"built", i.Built.Format(time.DateTime) + " UTC under " + i.Hypervisor},
			{"seconds", seconds(i.Seconds)},
		} {
			_, _ = fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
		}
		return errors.Join(table.Flush(), renderLacks(w, i))
	})
}

// system says what runs in an image, and what it was made of.
func system(i image.Image) string {
	if i.Imported != nil {
		return fmt.Sprintf("%s (%s %s), from %s", or(i.Imported.System, "unknown"), i.Distribution, i.Release, i.Imported.File)
	}
	return fmt.Sprintf("%s %s, %s", i.Distribution, i.Release, strings.Join(i.Pockets, ", "))
}

// seconds lists the stages, the longest first.
func seconds(stages map[string]float64) string {
	names := slices.SortedFunc(maps.Keys(stages), func(a, b string) int {
		if stages[a] != stages[b] {
			return int(1000 * (stages[b] - stages[a]))
		}
		return strings.Compare(a, b)
	})
	parts := make([]string, 0, len(names))
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s %.1f", name, stages[name]))
	}
	return strings.Join(parts, ", ")
}

func newImageRemoveCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME...",
		Short:             "Remove all images of a name; one that a run stands on is refused",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImages(env),
		RunE:              func(_ *cobra.Command, args []string) error { return env.removeImages(args) },
	}
}

func (e *environment) removeImages(names []string) error {
	store := &image.Store{Dir: e.Dirs.Images}
	for _, name := range names {
		// What is damaged can still be removed.
		if _, err := store.Find(name); errors.Is(err, image.ErrNotBuilt) {
			return usage(err)
		}
		removed, err := store.Remove(name, "")
		for _, digest := range removed {
			_, writeErr := fmt.Fprintf(e.Stdout, "removed %s %s\n", name, digest[:min(12, len(digest))])
			err = errors.Join(err, writeErr)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func notBuiltIsUsage(err error) error {
	if errors.Is(err, image.ErrNotBuilt) {
		return usage(err)
	}
	return err
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func completeManifests(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, err := manifest.Names(images.FS)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func completeImages(env *environment) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		if err := env.settle(cmd); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		stored, err := (&image.Store{Dir: env.Dirs.Images}).List()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names := []string{}
		for _, i := range stored {
			names = append(names, i.Name)
		}
		return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
	}
}
