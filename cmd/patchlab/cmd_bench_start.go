package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/bench"
)

const startLong = `Call the program itself, one call after the other, for what needs no machine: --help and image list. What shells and scripts wait
for at every call is in these figures.`

func newStartCommand(env *environment) *cobra.Command {
	runs := 20
	cmd := &cobra.Command{
		Use:     "start",
		Short:   "Measure how long patchlab takes to say its help and to list its images",
		Long:    startLong,
		Example: "  patchlab bench start --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := env.benchStart(cmd.Context(), runs)
			if err != nil {
				return err
			}
			return env.render(result, text(startTable(result)))
		},
	}
	cmd.Flags().IntVar(&runs, "runs", runs, "how often each command is called (`N`)")
	return cmd
}

func (e *environment) benchStart(ctx context.Context, runs int) (result bench.Start, err error) {
	if runs < 1 {
		return result, usage(fmt.Errorf("--runs is %d, want at least 1", runs))
	}
	self, err := os.Executable()
	if err != nil {
		return result, fmt.Errorf("finding patchlab's own program: %w", err)
	}
	busy, err := bench.Busy(ctx)
	if err != nil {
		return result, err
	}
	result = bench.Start{Schema: bench.Schema, Bench: "start", Runs: runs, BusyCPUs: []float64{busy}}
	if result.Start.Help, err = bench.Call(ctx, runs, self, "--help"); err != nil {
		return result, err
	}
	result.Start.ImageList, err = bench.Call(ctx, runs, self, "image", "list")
	return result, err
}

// startTable renders the result for a person.
func startTable(s bench.Start) string {
	var table figureTable
	table.row("patchlab --help", shown((*bench.Figures)(s.Start.Help)))
	table.row("patchlab image list", shown((*bench.Figures)(s.Start.ImageList)))
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "the program itself, median (least to most) of %d, milliseconds\n\n%s\n%s\n", s.Runs, &table, quietness(s.BusyCPUs))
	return b.String()
}
