package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/bench"
)

const benchCheckpointLong = `Make a clone of an image, take a checkpoint of it, change it, go back, and see that the change is undone; as often as wanted. The table
says how long either took, when the guest could be used after a revert, and what a checkpoint holds of the host's disk.

The clone goes on from the template, which is made first if it is not there. Nothing is tested.`

const benchCheckpointExample = `  patchlab bench checkpoint
  patchlab bench checkpoint --image debian-12-efi --runs 9 --output json`

// benchCheckpointOptions are the flags of `patchlab bench checkpoint`.
type benchCheckpointOptions struct {
	image string
	runs  int
}

func newCheckpointCommand(env *environment) *cobra.Command {
	options := checkpointDefaults(5)
	cmd := &cobra.Command{
		Use:     "checkpoint",
		Short:   "Measure how long a checkpoint of a clone takes, and the way back to it",
		Long:    benchCheckpointLong,
		Example: benchCheckpointExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := env.benchCheckpoint(cmd.Context(), options)
			if err != nil {
				return err
			}
			return env.render(result, text(checkpointTable(result)))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.image, "image", options.image, "the `IMAGE` to clone")
	flags.IntVar(&options.runs, "runs", options.runs, "how many checkpoints are taken and gone back to (`N`)")
	completeImage(env, cmd)
	return cmd
}

// checkpointDefaults are what is measured when nobody says otherwise, so often.
func checkpointDefaults(runs int) benchCheckpointOptions {
	return benchCheckpointOptions{image: "debian-12-web", runs: runs}
}

func (e *environment) benchCheckpoint(ctx context.Context, options benchCheckpointOptions) (result bench.Checkpoints, err error) {
	if options.runs < 1 {
		return result, usage(errors.New("--runs has to be at least 1"))
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
	busy, err := bench.Busy(ctx)
	if err != nil {
		return result, err
	}
	sink, endOfProgress := e.sink()
	trial, err := harness.TryClone(ctx, lab, options.image, harness.TrialOptions{Sink: sink, Rounds: options.runs})
	endOfProgress()
	if err != nil {
		return result, labFault(ctx, err)
	}
	result = bench.Checkpoints{
		Schema: bench.Schema, Bench: "checkpoint", Image: options.image, Start: trial.Clones.Start,
		Accelerator: string(host.Accelerator.Best), BusyCPUs: []float64{busy},
		TranslationCacheMiB: translationCache(host.Accelerator.Best),
	}
	roundTimes(trial.Rounds).Sum(&result)
	return result, nil
}

func roundTimes(rounds []harness.Round) bench.CheckpointTimes {
	const mib = 1 << 20
	var times bench.CheckpointTimes
	for _, r := range rounds {
		times.Checkpoint, times.Revert = append(times.Checkpoint, r.Checkpoint), append(times.Revert, r.Running)
		times.Answer, times.Settled = append(times.Answer, r.Answer), append(times.Settled, r.Settled)
		if r.Told > 0 {
			times.Told = append(times.Told, r.Told)
		}
		times.Memory, times.Disk = append(times.Memory, float64(r.MemoryBytes)/mib), append(times.Disk, float64(r.DiskBytes)/mib)
	}
	return times
}

// checkpointTable renders the result for a person.
func checkpointTable(c bench.Checkpoints) string {
	var table figureTable
	table.row("a checkpoint", shownSeconds(c.Checkpoint.Seconds))
	table.row("a revert, until the domain runs", shownSeconds(c.Revert.Seconds))
	table.row("  until the waiting probe answers", shownSeconds(c.Revert.Told))
	table.row("  until ssh answers", shownSeconds(c.Revert.Answer))
	table.row("  until the guest has settled", shownSeconds(c.Revert.Settled))
	table.row("on disk: memory of the first, MiB", shownMiB(c.Checkpoint.First.Memory))
	table.row("  of each later one", shownMiB(c.Checkpoint.Later.Memory))
	table.row("  disk of the first", shownMiB(c.Checkpoint.First.Disk))
	table.row("  of each later one", shownMiB(c.Checkpoint.Later.Disk))
	return fmt.Sprintf("checkpoints of a %s clone of %s, median (least to most) of %d, seconds\n\n%s\n%s; %s\n",
		c.Start, c.Image, c.Runs, table.String(), accelerated(c.Accelerator, c.TranslationCacheMiB), quietness(c.BusyCPUs))
}
