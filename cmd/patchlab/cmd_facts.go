package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/printable"
	"github.com/patchlab/patchlab/harness/report"
)

const factsLong = `Print the facts of a live machine, of the guest that a run has kept, or of a run: packages, units, processes, ports,
files, users, mounts, kernels, and processes that still run deleted files. Of a live machine files are told below /etc alone,
unless --files system asks for all that belong to its system.

A live machine is reached as ssh would do it, with your keys, agent, known_hosts and ssh_config. Nothing is changed there: a
static program is copied to a temporary directory, run by root (with sudo where you are not root) and removed. Without root,
--no-sudo reads what everybody may; the answer says what is missing.

The guest of a run that was kept is read anew, unless --phase says when; other runs give the facts of their last phase.`

const factsExample = `  patchlab facts admin@web1.example.org
  patchlab facts root@web1.example.org:2222 --output json > web1.json
  patchlab facts last --phase baseline --kind unit,port
  patchlab diff web1.json last`

// factsOptions are the flags of `patchlab facts`.
type factsOptions struct {
	source  string
	phase   string
	kinds   []string
	machine machineOptions
}

func newFactsCommand(env *environment) *cobra.Command {
	var options factsOptions
	cmd := &cobra.Command{
		Use:     "facts USER@HOST|RUN|FILE",
		Short:   "Print the facts of a live machine, of a kept guest or of a run",
		Long:    factsLong,
		Example: factsExample,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options.source = args[0]
			return env.facts(cmd.Context(), options)
		},
	}
	cmd.ValidArgsFunction = env.completeRuns(false)
	flags := cmd.Flags()
	flags.StringVar(&options.phase, "phase", "", "a `PHASE` of the run: baseline, control, apply-NAME, reboot-clean, ... or now")
	flags.StringSliceVar(&options.kinds, "kind", nil, "only facts of these kinds (`KIND,...`)")
	options.machine.flags(flags)
	complete(cmd, "kind", kindNames()...)
	completePhases(env, cmd)
	return cmd
}

// completePhases completes --phase with what the named run has.
func completePhases(env *environment, cmd *cobra.Command) {
	err := cmd.RegisterFlagCompletionFunc("phase",
		func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var phases []string
			if len(args) > 0 {
				if dir, err := env.findRun(args[0]); err == nil {
					phases, _ = phasesOf(dir) // nothing to offer
				}
			}
			return phases, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		})
	if err != nil {
		panic(err) // the flag is not defined: found by every test of the command
	}
}

func (e *environment) facts(ctx context.Context, options factsOptions) error {
	if err := checkKinds(options.kinds); err != nil {
		return err
	}
	taken, err := e.factsOf(ctx, options)
	if err != nil {
		return err
	}
	for _, n := range taken.Notes {
		what := strings.ReplaceAll(n.Error, `\x0a`, "; ") // as the probe writes the end of a line
		e.notice(printable.Line(fmt.Sprintf("not everything could be read: %s: %s", n.Kind, what), 300))
	}
	taken = taken.only(options.kinds)
	return e.render(taken, func(w io.Writer) error {
		view := report.View{Colour: e.colour(w)}
		if columns, known := columns(w); known {
			view.Width = columns
		}
		heading := fmt.Sprintf("%d facts of %s", taken.Facts.Len(), printable.Line(taken.title(), 300))
		if taken.TakenAt != nil {
			heading += ", " + taken.TakenAt.UTC().Format(time.DateTime) + " UTC by its clock"
		}
		_, err := io.WriteString(w, heading+"\n\n"+report.Facts(taken.Facts, view))
		return err
	})
}

// factsOf reads a kept guest as it is, where nothing else was asked for.
func (e *environment) factsOf(ctx context.Context, options factsOptions) (snapshot, error) {
	if isMachine(options.source) || options.phase != phaseLast && options.phase != phaseNow {
		return e.snapshot(ctx, options.source, options.phase, options.machine)
	}
	dir, err := e.findRun(options.source)
	switch {
	case err == nil && isKept(dir):
		return e.keptNow(ctx, dir)
	case err == nil && options.phase == phaseNow:
		return snapshot{}, usage(errors.New("--phase now: " + notKept(dir)))
	}
	return e.snapshot(ctx, options.source, options.phase, options.machine)
}
