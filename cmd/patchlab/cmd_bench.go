package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
)

func newBenchCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure what patchlab costs",
		Long:    `Measure what patchlab costs on this host. Figures mean something on a host that does nothing else.`,
		Example: "  patchlab bench overhead\n  patchlab bench clone",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStartCommand(env), newCloneCommand(env), newOverheadCommand(env), newParallelCommand(env), newBenchImageCommand(env))
	return cmd
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
