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
	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/progress"
)

const cloneLong = `Make clones of an image and take them away again: some that go on from the template, and some that are booted. The table says
when their domain ran, when they answered over ssh, when they had settled, what a complete set of facts took, and how much of the
host's memory an idle one holds.

The template is made first if it is not there. Nothing is tested.`

const cloneExample = `  patchlab bench clone
  patchlab bench clone --image debian-12-efi --runs 5 --output json
  patchlab bench clone --cold 0 --idle 0s`

// cloneOptions are the flags of `patchlab bench clone`.
type cloneOptions struct {
	image string
	runs  int
	cold  int
	idle  time.Duration
}

func newCloneCommand(env *environment) *cobra.Command {
	var options cloneOptions
	cmd := &cobra.Command{
		Use:     "clone",
		Short:   "Measure how long a clone takes to come to life, from the template and by a boot",
		Long:    cloneLong,
		Example: cloneExample,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return env.benchClone(cmd.Context(), options) },
	}
	flags := cmd.Flags()
	flags.StringVar(&options.image, "image", "debian-12-web", "the `IMAGE` to clone")
	flags.IntVar(&options.runs, "runs", 5, "how many clones go on from the template (`N`)")
	flags.IntVar(&options.cold, "cold", 1, "how many clones are booted (`N`)")
	flags.DurationVar(&options.idle, "idle", time.Minute, "how long the last clone of a kind is left alone before its memory is read; 0s does not")
	completeImage(env, cmd)
	return cmd
}

func (e *environment) benchClone(ctx context.Context, options cloneOptions) (err error) {
	if options.runs < 1 || options.cold < 0 || options.idle < 0 {
		return usage(errors.New("--runs has to be at least 1, --cold and --idle at least 0"))
	}
	open, closing := e.sharedHost(e.notice)
	defer func() { err = errors.Join(err, closing()) }()
	host, err := open(ctx)
	if err != nil {
		return labFault(ctx, err)
	}
	lab, err := e.lab(open, ".")
	if err != nil {
		return err
	}
	sink, endOfProgress := e.sink()
	result := bench.Clones{
		Schema: bench.Schema, Bench: "clone", Image: options.image, Runs: options.runs,
		Accelerator: string(host.Accelerator.Best), BusyCPUs: []float64{},
	}
	if host.Accelerator.Best == hypervisor.TCG {
		result.TranslationCacheMiB = libvirt.TranslationCacheMiB
	}
	b := cloneBench{lab: lab, options: options, sink: sink, result: &result}
	err = b.measure(ctx)
	endOfProgress()
	if err != nil {
		return labFault(ctx, err)
	}
	return e.render(result, text(cloneTable(result)))
}

// cloneBench is one bench under way.
type cloneBench struct {
	lab     harness.Lab
	options cloneOptions
	sink    progress.Sink
	result  *bench.Clones
}

func (b *cloneBench) measure(ctx context.Context) error {
	// The first clone may have to make the template, which is no quiet time before it.
	first, err := harness.TryClone(ctx, b.lab, b.options.image, harness.TrialOptions{Sink: b.sink})
	if err != nil {
		return err
	}
	if first.Clones.Start != "warm" {
		return fmt.Errorf("there is nothing to measure: %s", first.Clones.Why)
	}
	if first.Template > 0 {
		b.result.Template = &first.Template
	}
	warm, err := b.several(ctx, b.options.runs, false)
	if err != nil {
		return err
	}
	b.result.Warm = warm
	if b.options.cold == 0 {
		return nil
	}
	cold, err := b.several(ctx, b.options.cold, true)
	b.result.Cold = &cold
	return err
}

// several measures one clone after the other.
func (b *cloneBench) several(ctx context.Context, runs int, cold bool) (bench.Clone, error) {
	const captures = 3 // the first one finds nothing in the guest's memory
	var times bench.CloneTimes
	for i := range runs {
		busy, err := bench.Busy(ctx)
		if err != nil {
			return bench.Clone{}, err
		}
		b.result.BusyCPUs = append(b.result.BusyCPUs, busy)
		var idle func(context.Context, string) error
		if i == runs-1 && b.options.idle > 0 {
			idle = func(ctx context.Context, domain string) error {
				memory, err := b.memory(ctx, domain)
				times.Memory = append(times.Memory, memory)
				return err
			}
		}
		if !cold {
			first, err := harness.TryClone(ctx, b.lab, b.options.image, harness.TrialOptions{Sink: b.sink, FactsFirst: true})
			if err != nil {
				return bench.Clone{}, err
			}
			times.Complete = append(times.Complete, first.Complete)
		}
		trial, err := harness.TryClone(ctx, b.lab, b.options.image, harness.TrialOptions{
			Sink: b.sink, Cold: cold, Captures: captures, Idle: idle,
		})
		if err != nil {
			return bench.Clone{}, err
		}
		if !cold && trial.Clones.Start != "warm" {
			return bench.Clone{}, fmt.Errorf("a clone had to be booted: %s", trial.Clones.Why)
		}
		times.Running, times.Answer = append(times.Running, trial.Running), append(times.Answer, trial.Answer)
		times.Settled = append(times.Settled, trial.Settled)
		times.First = append(times.First, trial.Captures[0])
		times.Later = append(times.Later, trial.Captures[1:]...)
	}
	return times.Sum(), nil
}

// memory leaves a clone alone for a while and reads what it holds.
func (b *cloneBench) memory(ctx context.Context, domain string) (float64, error) {
	timer := time.NewTimer(b.options.idle)
	defer timer.Stop()
	select {
	case <-timer.C:
		return bench.DomainMemory(domain)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// cloneTable renders the result for a person.
func cloneTable(c bench.Clones) string {
	cold := bench.Clone{}
	head := ""
	if c.Cold != nil {
		cold, head = *c.Cold, "by a boot"
	}
	table := newFigureTable()
	table.row("", "from the template", head, "")
	for _, line := range []struct {
		what       string
		warm, cold *bench.Figures
	}{
		{"domain runs", c.Warm.Running, cold.Running},
		{"complete set of facts told", c.Warm.Complete, cold.Complete},
		{"first answer over ssh", c.Warm.Answer, cold.Answer},
		{"settled", c.Warm.Settled, cold.Settled},
		{"then: a set of facts takes", c.Warm.First, cold.First},
		{"later ones", c.Warm.Later, cold.Later},
		{"memory when idle, MiB", c.Warm.Memory, cold.Memory},
	} {
		table.row("  "+line.what, shown(line.warm), shown(line.cold), "")
	}
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "clones of %s, median (least to most) of %d, seconds\n\n%s\n", c.Image, c.Runs, table)
	if c.Template != nil {
		_, _ = fmt.Fprintf(&b, "the template was made in %.1f s\n", *c.Template)
	}
	accelerator := c.Accelerator
	if c.TranslationCacheMiB > 0 {
		accelerator += fmt.Sprintf(" with a tb-cache of %d MiB", c.TranslationCacheMiB)
	}
	_, _ = fmt.Fprintf(&b, "%s; at most %.1f CPUs were busy before each clone\n", accelerator, slices.Max(c.BusyCPUs))
	return b.String()
}
