package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
)

const revertLong = `Bring the guest that a run has kept (patchlab run --keep) back to a checkpoint, with its memory, its disk and its EFI variables: the
run has taken one before each increment. Whatever happened since is undone, also after the guest was turned off. Connections to it
are lost. Without a checkpoint's name they are listed.

Checkpoints go with the guest: patchlab gc --kept. They are refused on a host on which it is not proven that a revert undoes what came
after; patchlab doctor proves it.`

const revertExample = `  patchlab run --keep openssl-nginx
  patchlab revert last
  patchlab revert last before-openssl
  patchlab shell last`

func newRevertCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "revert RUN [CHECKPOINT]",
		Short:   "Bring a kept guest back to what it was before an increment",
		Long:    revertLong,
		Example: revertExample,
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.revert(cmd.Context(), args)
		},
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return env.describeCheckpoints(args[0]), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		}
		if len(args) > 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return env.completeRuns(true)(cmd, args, word)
	}
	return cmd
}

// checkpointList is the result of `revert` without a checkpoint.
type checkpointList struct {
	Run         string                  `json:"run"`
	Checkpoints []hypervisor.Checkpoint `json:"checkpoints"`
}

// revertResult is the result of `revert` with one.
type revertResult struct {
	Run string `json:"run"`
	harness.Reverted
}

func (e *environment) revert(ctx context.Context, args []string) (err error) {
	dir, err := e.findRun(args[0])
	if err != nil {
		return err
	}
	if !isKept(dir) {
		return usage(errors.New(notKept(dir)))
	}
	open, closing := e.sharedHost(e.notice)
	defer func() { err = errors.Join(err, closing()) }()
	lab, err := e.lab(open, ".")
	if err != nil {
		return err
	}
	return e.revertOn(ctx, lab, dir, args[1:])
}

func (e *environment) revertOn(ctx context.Context, lab harness.Lab, dir string, names []string) (err error) {
	kept, err := e.openKept(ctx, lab, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	listed, err := kept.Checkpoints(ctx)
	if err != nil {
		return labFault(ctx, err)
	}
	run := filepath.Base(dir)
	if len(names) == 0 {
		list := checkpointList{Run: run, Checkpoints: listed}
		return e.render(list, text(list.table()))
	}
	name := names[0]
	if !has(listed, name) {
		return usage(fmt.Errorf("run %s has no checkpoint %q: %s", run, name, choice(listed)))
	}
	e.progress(fmt.Sprintf("bringing the guest of run %s back to %s", run, name))
	reverted, err := kept.Revert(ctx, name)
	if err != nil {
		return labFault(ctx, err)
	}
	result := revertResult{Run: run, Reverted: reverted}
	return e.render(result, text(fmt.Sprintf("%s is at %s: its domain ran after %.1f s, ssh answered after %.1f s, it had settled after %.1f s\n",
		run, reverted.Checkpoint, reverted.Running, reverted.Answer, reverted.Settled)))
}

func (e *environment) openKept(ctx context.Context, lab harness.Lab, dir string) (*harness.KeptGuest, error) {
	kept, err := harness.OpenKept(ctx, lab, dir)
	switch {
	case errors.Is(err, harness.ErrNotKept):
		return nil, usage(fmt.Errorf("%w; `patchlab gc --kept` clears up what is left of it", err))
	case errors.Is(err, rundir.ErrLocked):
		return nil, usage(fmt.Errorf("run %s is still running, or somebody else reverts its guest: %w", filepath.Base(dir), err))
	case err != nil:
		return nil, labFault(ctx, err)
	}
	return kept, nil
}

func has(listed []hypervisor.Checkpoint, name string) bool {
	for _, one := range listed {
		if one.Name == name {
			return true
		}
	}
	return false
}

// choice says what could have been named.
func choice(listed []hypervisor.Checkpoint) string {
	if len(listed) == 0 {
		return "it has none; its phases say why (patchlab run --keep takes them)"
	}
	names := make([]string, len(listed))
	for i, one := range listed {
		names[i] = one.Name
	}
	return "name one of " + strings.Join(names, ", ")
}

func (l checkpointList) table() string {
	if len(l.Checkpoints) == 0 {
		return fmt.Sprintf("run %s has no checkpoints; its phases say why\n", l.Run)
	}
	const mib = 1 << 20
	var b strings.Builder
	columns := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(columns, "CHECKPOINT\tTAKEN\tMEMORY\tDISK") // a builder does not fail
	for _, one := range l.Checkpoints {
		_, _ = fmt.Fprintf(columns, "%s\t%s\t%d MiB\t%d MiB\n", one.Name, one.Taken.Local().Format(time.DateTime), one.MemoryBytes/mib,
			(one.DiskBytes+mib-1)/mib)
	}
	_ = columns.Flush()
	return b.String()
}

// describeCheckpoints lists those that a run has taken, for a shell's completion: whoever waits for that asks no hypervisor.
func (e *environment) describeCheckpoints(name string) []string {
	dir, err := e.findRun(name)
	if err != nil || !isKept(dir) {
		return nil
	}
	content, err := os.ReadFile(filepath.Join(dir, rundir.Result))
	if err != nil {
		return nil
	}
	result, err := report.Unmarshal(content)
	if err != nil {
		return nil
	}
	var described []string
	for _, phase := range result.Phases {
		if phase.Name == harness.PhaseCheckpoint && phase.Status == "done" {
			described = append(described, harness.BeforeIncrement(phase.Increment)+"\tas it was before "+phase.Increment+" was applied")
		}
	}
	return described
}
