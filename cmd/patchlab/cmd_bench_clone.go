package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/progress"
)

const cloneLong = `Make clones of an image and take them away again: some that go on from the template, and some that are booted. The table says
when their domain ran, when they answered over ssh, when they had settled, and what a complete set of facts took.

Then the memory: of clones that go on from the template while a first one is there, all of them left alone for --idle since they
came to life; and of a single one that was read three times and then left alone. Pages that several clones share count in parts
("Pss"); "of its own" is what the host gets back when a clone goes.

The template is made first if it is not there. Nothing is tested.`

const cloneExample = `  patchlab bench clone
  patchlab bench clone --image debian-12-efi --runs 5 --output json
  patchlab bench clone --cold 0 --idle 0s`

// cloneOptions are the flags of `patchlab bench clone`.
type cloneOptions struct {
	image   string
	runs    int
	cold    int
	further int
	idle    time.Duration
}

// cloneDefaults are the options of so many runs.
func cloneDefaults(runs int) cloneOptions {
	return cloneOptions{image: "debian-12-web", runs: runs, cold: 1, further: 3, idle: time.Minute}
}

func newCloneCommand(env *environment) *cobra.Command {
	options := cloneDefaults(5)
	cmd := &cobra.Command{
		Use:     "clone",
		Short:   "Measure how long a clone takes to come to life, from the template and by a boot",
		Long:    cloneLong,
		Example: cloneExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := env.benchClone(cmd.Context(), options)
			if err != nil {
				return err
			}
			return env.render(result, text(cloneTable(result)))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.image, "image", options.image, "the `IMAGE` to clone")
	flags.IntVar(&options.runs, "runs", options.runs, "how many clones go on from the template (`N`)")
	flags.IntVar(&options.cold, "cold", options.cold, "how many clones are booted (`N`)")
	flags.IntVar(&options.further, "further", options.further, "how many clones beside a first one their memory is read of (`N`)")
	flags.DurationVar(&options.idle, "idle", options.idle, "how long clones are left alone before their memory is read; 0s does not read it")
	completeImage(env, cmd)
	return cmd
}

func (e *environment) benchClone(ctx context.Context, options cloneOptions) (result bench.Clones, err error) {
	if options.runs < 1 || options.cold < 0 || options.further < 0 || options.idle < 0 {
		return result, usage(errors.New("--runs has to be at least 1, --cold, --further and --idle at least 0"))
	}
	open, closing := e.sharedHost(e.notice)
	defer func() { err = errors.Join(err, closing()) }()
	host, err := open(ctx)
	if err != nil {
		return result, labFault(ctx, err)
	}
	lab, err := e.lab(open, ".")
	if err != nil {
		return result, err
	}
	sink, endOfProgress := e.sink()
	result = bench.Clones{
		Schema: bench.Schema, Bench: "clone", Image: options.image, Runs: options.runs,
		Accelerator: string(host.Accelerator.Best), BusyCPUs: []float64{},
	}
	result.TranslationCacheMiB = translationCache(host.Accelerator.Best)
	b := cloneBench{lab: lab, options: options, sink: sink, result: &result}
	err = b.measure(ctx)
	endOfProgress()
	if err != nil {
		return result, labFault(ctx, err)
	}
	return result, nil
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
		b.result.Template = &bench.Seconds{Min: first.Template, Median: first.Template, Max: first.Template}
	}
	warm, err := b.several(ctx, b.options.runs, false)
	if err != nil {
		return err
	}
	b.result.Clone.Warm = warm
	if b.options.further > 0 && b.options.idle > 0 {
		if err := b.idle(ctx); err != nil {
			return err
		}
	}
	if b.options.cold == 0 {
		return nil
	}
	cold, err := b.several(ctx, b.options.cold, true)
	b.result.Clone.Cold = &cold
	return err
}

// several measures one clone after the other.
func (b *cloneBench) several(ctx context.Context, runs int, cold bool) (bench.Clone, error) {
	const captures = 3 // the first one finds nothing in the guest's memory
	var times bench.CloneTimes
	var worked []bench.Held
	for i := range runs {
		busy, err := bench.Busy(ctx)
		if err != nil {
			return bench.Clone{}, err
		}
		b.result.BusyCPUs = append(b.result.BusyCPUs, busy)
		var idle func(context.Context, string) error
		if i == runs-1 && b.options.idle > 0 {
			idle = func(ctx context.Context, domain string) error {
				worked, err = b.held(ctx, domain)
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
	sum := times.Sum()
	if worked != nil {
		sum.Worked = bench.SumMemory(len(worked), b.options.idle, worked)
	}
	return sum, nil
}

// idle makes further clones beside a first one, one inside the other's life, and reads what they hold when nobody has used any of
// them for a while.
func (b *cloneBench) idle(ctx context.Context) error {
	var domains []string
	var held []bench.Held
	var one func(context.Context) error
	one = func(ctx context.Context) error {
		trial, err := harness.TryClone(ctx, b.lab, b.options.image, harness.TrialOptions{
			Sink: b.sink, Idle: func(ctx context.Context, domain string) (err error) {
				domains = append(domains, domain)
				if len(domains) <= b.options.further {
					return one(ctx)
				}
				held, err = b.held(ctx, domains[1:]...)
				return err
			},
		})
		if err == nil && trial.Clones.Start != "warm" {
			err = fmt.Errorf("a clone had to be booted: %s", trial.Clones.Why)
		}
		return err
	}
	if err := one(ctx); err != nil {
		return err
	}
	b.result.Clone.Warm.Idle = bench.SumMemory(len(domains), b.options.idle, held)
	return nil
}

// held leaves clones alone for a while and reads what they hold.
func (b *cloneBench) held(ctx context.Context, domains ...string) ([]bench.Held, error) {
	timer := time.NewTimer(b.options.idle)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	var all []bench.Held
	for _, domain := range domains {
		one, err := bench.DomainMemory(domain)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// cloneTable renders the result for a person.
func cloneTable(c bench.Clones) string {
	warm, cold := c.Clone.Warm, bench.Clone{}
	head := ""
	if c.Clone.Cold != nil {
		cold, head = *c.Clone.Cold, "by a boot"
	}
	var table figureTable
	table.row("", "from the template", head)
	for _, line := range []struct {
		what       string
		warm, cold *bench.Seconds
	}{
		{"domain runs", warm.Running, cold.Running},
		{"complete set of facts told", warm.Complete, cold.Complete},
		{"first answer over ssh", warm.Answer, cold.Answer},
		{"settled", warm.Seconds, cold.Seconds},
		{"then: a set of facts takes", warm.First, cold.First},
		{"later ones", warm.Later, cold.Later},
	} {
		table.row("  "+line.what, shownSeconds(line.warm), shownSeconds(line.cold))
	}
	memory := func(what string, warm, cold *bench.Memory) {
		if warm == nil && cold == nil {
			return
		}
		table.row(what)
		empty := &bench.Memory{}
		warm, cold = cmp.Or(warm, empty), cmp.Or(cold, empty)
		table.row("  Pss", shownMiB(warm.Pss), shownMiB(cold.Pss))
		table.row("  of its own", shownMiB(warm.Private), shownMiB(cold.Private))
	}
	if warm.Idle != nil {
		memory(fmt.Sprintf("MiB of each further clone, %d at once, %.0f s idle", warm.Idle.Clones, warm.Idle.Idle), warm.Idle, nil)
	}
	if warm.Worked != nil {
		memory(fmt.Sprintf("MiB of a single clone, %.0f s after three sets of facts", warm.Worked.Idle), warm.Worked, cold.Worked)
	}
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "clones of %s, median (least to most) of %d, seconds\n\n%s\n", c.Image, c.Runs, &table)
	if c.Template != nil {
		_, _ = fmt.Fprintf(&b, "the template was made in %.1f s\n", c.Template.Median)
	}
	_, _ = fmt.Fprintf(&b, "%s; %s\n", accelerated(c.Accelerator, c.TranslationCacheMiB), quietness(c.BusyCPUs))
	return b.String()
}
