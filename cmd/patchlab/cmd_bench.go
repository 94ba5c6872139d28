package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
)

const benchLong = `Measure what patchlab costs on this host: all of the benches below, one after the other, with one table each, or with --output json one
object that holds the least, the median and the most of every figure. An image is built once. On a host without KVM that takes an hour and more.

Figures mean something on a host that does nothing else.`

// allOptions are the flags of `patchlab bench`.
type allOptions struct {
	runs    int
	against string
}

func newBenchCommand(env *environment) *cobra.Command {
	var options allOptions
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure what patchlab costs",
		Long:    benchLong,
		Example: "  patchlab bench --output json > figures.json\n  patchlab bench clone",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return env.benchAll(cmd.Context(), options) },
	}
	cmd.Flags().IntVar(&options.runs, "runs", 5, "how often everything is measured (`N`)")
	cmd.Flags().StringVar(&options.against, "against", againstHand, "what a run is compared with: hand, autopkgtest (`WHAT`)")
	complete(cmd, "against", againstHand, againstAutopkgtest)
	cmd.AddCommand(newStartCommand(env), newCloneCommand(env), newCheckpointCommand(env), newOverheadCommand(env), newParallelCommand(env),
		newBenchImageCommand(env))
	return cmd
}

// benchAll calls one bench after the other.
func (e *environment) benchAll(ctx context.Context, options allOptions) error {
	if options.runs < 1 {
		return usage(fmt.Errorf("--runs is %d, want at least 1", options.runs))
	}
	if options.against != againstHand && options.against != againstAutopkgtest {
		return usage(unknownPeer(options.against))
	}
	all := bench.All{Schema: bench.Schema, Bench: "all", Runs: options.runs}
	const calls = 20
	start, err := e.benchStart(ctx, calls)
	if err != nil {
		return err
	}
	clones, err := e.benchClone(ctx, cloneDefaults(options.runs))
	if err != nil {
		return err
	}
	checkpoints, err := e.benchCheckpoint(ctx, checkpointDefaults(options.runs))
	if err != nil {
		return err
	}
	tables := []string{startTable(start), cloneTable(clones), checkpointTable(checkpoints)}
	if overhead := overheadDefaults(options.runs); options.against == againstHand {
		result, err := e.overhead(ctx, overhead)
		if err != nil {
			return err
		}
		all.Overhead, tables = &result, append(tables, overheadTable(result))
	} else {
		result, err := e.againstAutopkgtest(ctx, overhead)
		if err != nil {
			return err
		}
		all.Autopkgtest, tables = &result, append(tables, autopkgtestTable(result))
	}
	parallel, err := e.benchParallel(ctx, parallelDefaults(options.runs))
	if err != nil {
		return err
	}
	build, err := e.benchImage(ctx, imageDefaults(1))
	if err != nil {
		return err
	}
	all.Take(start, clones, checkpoints, parallel, build)
	return e.render(all, text(strings.Join(append(tables, parallelTable(parallel), imageTable(build)), "\n")))
}

// translationCache is the bound in MiB of QEMU's cache of translated code; 0 with an accelerator that translates nothing.
func translationCache(a hypervisor.Accelerator) int {
	if a == hypervisor.TCG {
		return libvirt.TranslationCacheMiB
	}
	return 0
}

// accelerated names an accelerator, with its translation cache.
func accelerated(accelerator string, cacheMiB int) string {
	if cacheMiB > 0 {
		return fmt.Sprintf("%s with a tb-cache of %d MiB", accelerator, cacheMiB)
	}
	return accelerator
}

// quietness says whether other work spoils the figures.
func quietness(busyCPUs []float64) string {
	busiest := 0.0
	if len(busyCPUs) > 0 {
		busiest = slices.Max(busyCPUs)
	}
	if bench.Quiet(busyCPUs) {
		return fmt.Sprintf("the host was quiet: at most %.1f CPUs were busy before a measurement", busiest)
	}
	return fmt.Sprintf("the host was NOT quiet: up to %.1f CPUs were busy before a measurement, so the figures say little", busiest)
}

// figureTable aligns a column of words and columns of figures.
type figureTable struct{ rows [][]string }

func (t *figureTable) row(cells ...string) { t.rows = append(t.rows, cells) }

func shown(f *bench.Figures) string {
	switch {
	case f == nil:
		return "-"
	case f.Min == f.Max:
		return fmt.Sprintf("%.1f", f.Median)
	default:
		return fmt.Sprintf("%.1f (%.1f-%.1f)", f.Median, f.Min, f.Max)
	}
}

func shownSeconds(s *bench.Seconds) string { return shown((*bench.Figures)(s)) }

func shownMiB(m *bench.MiB) string { return shown((*bench.Figures)(m)) }

func (t *figureTable) String() string {
	var widths []int
	for _, row := range t.rows {
		if len(row) == 1 {
			continue // a headline
		}
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(cell))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		_, _ = fmt.Fprintf(&line, "%-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			_, _ = fmt.Fprintf(&line, "  %*s", widths[i+1], cell)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}
