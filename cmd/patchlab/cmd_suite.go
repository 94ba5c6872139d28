package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/printable"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/harness/verdict"
	"github.com/patchlab/patchlab/suites"
)

func newSuiteCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suite",
		Short: "Run suites of your own, or those that come with patchlab, by hand",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSuiteRunCommand(env), newSuiteListCommand(env))
	return cmd
}

func newSuiteListCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the suites that come with patchlab",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return env.render(suites.Names(), text(strings.Join(suites.Names(), "\n")+"\n"))
		},
	}
}

const suiteRunLong = `Run suites against the guest that a run has kept (patchlab run --keep), as the run would after its last phase: with its
baseline, and with the facts of the guest as it is now. A suite is one of patchlab's own, by name; a compiled one
(go test -c, ginkgo build); or the directory of a Go package, which is compiled with this host's go.

The run's verdict stays what it was. docs/suites.md tells how to write a suite. Exit code 0 when every spec has passed, 10 when
one has failed, 20 when the guest could not be asked.`

const suiteRunExample = `  patchlab run --keep openssl-nginx
  patchlab suite run ./docs/examples/shop --run last
  patchlab suite run services network --run last --label '!slow'
  patchlab suite run ./shop.test --run last --output json`

// suiteOptions are the flags of `suite run`.
type suiteOptions struct {
	names  []string
	run    string
	labels string
}

func newSuiteRunCommand(env *environment) *cobra.Command {
	var options suiteOptions
	cmd := &cobra.Command{
		Use:     "run PATH|NAME... --run RUN",
		Short:   "Run suites against the guest that a run has kept",
		Long:    suiteRunLong,
		Example: suiteRunExample,
		Args:    cobra.MinimumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return suites.Names(), cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			options.names = args
			return env.runSuites(cmd.Context(), options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.run, "run", "", "the `RUN` that has kept its guest: an id, its beginning, a directory, or last")
	flags.StringVar(&options.labels, "label", "", "only specs whose labels match this ginkgo `FILTER`")
	err := cmd.RegisterFlagCompletionFunc("run", func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return env.completeRuns(true)(nil, nil, word)
	})
	if err != nil {
		panic(err) // the flag is not defined: found by every test of the command
	}
	return cmd
}

// byHand is what suites that a person starts are called in the run directory.
const byHand = "by-hand"

// suiteResult is the result of `suite run`.
type suiteResult struct {
	Run string `json:"run"`
	suite.Report
	Log string `json:"log"` // what the suites wrote; compiled ones have files beside it
}

func (e *environment) runSuites(ctx context.Context, options suiteOptions) (err error) {
	if options.run == "" {
		return usage(errors.New("--run is missing: name the run that has kept its guest, or last"))
	}
	dir, err := e.findRun(options.run)
	if err != nil {
		return err
	}
	var w workshop
	defer w.close()
	ready, err := w.ready(ctx, e, suitePaths(options.names), ".")
	if err != nil {
		return usage(err)
	}
	conn, err := e.reachKept(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	h, err := e.handoffNow(ctx, dir)
	if err != nil {
		return err
	}
	h.Suites, h.Labels = ready, options.labels
	return e.execSuites(ctx, dir, h, conn)
}

// suitePaths makes paths of arguments that are files or directories here, and no suites of patchlab's.
func suitePaths(names []string) []string {
	paths := slices.Clone(names)
	for i, name := range paths {
		if _, err := os.Stat(name); err == nil && !slices.Contains(suites.Names(), name) && !strings.ContainsRune(name, filepath.Separator) {
			paths[i] = "." + string(filepath.Separator) + name
		}
	}
	return paths
}

func (e *environment) execSuites(ctx context.Context, dir string, h handoff.Handoff, conn guest.Conn) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding patchlab's own program: %w", err)
	}
	files := filepath.Join(dir, rundir.Suites, byHand)
	report, err := suite.Runner{Program: self, Dir: "."}.Run(ctx, h, conn, files)
	result := suiteResult{Run: filepath.Base(dir), Report: report, Log: files + ".log"}
	if len(report.Specs) > 0 {
		if err := e.render(result, text(e.suiteTable(result))); err != nil {
			return err
		}
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		return &exitError{code: verdict.Testbed.ExitCode(), err: err}
	case report.Failed > 0:
		return &exitError{code: verdict.Regression.ExitCode()} // the table has said it
	}
	return nil
}

func (e *environment) suiteTable(result suiteResult) string {
	colour := e.colour(e.Stdout)
	paint := func(style lipgloss.Style, word string) string {
		if !colour {
			return word
		}
		return style.Render(word)
	}
	var b strings.Builder
	for _, spec := range result.Specs {
		word := paint(lipgloss.NewStyle().Foreground(lipgloss.Green), "passed ")
		switch spec.State {
		case suite.Failed:
			word = paint(lipgloss.NewStyle().Foreground(lipgloss.Red), "FAILED ")
		case suite.Skipped:
			word = paint(lipgloss.NewStyle().Faint(true), "skipped")
		case suite.Passed:
		}
		fmt.Fprintf(&b, "%s %6.1f s  %s\n", word, spec.Seconds, printable.Line(spec.Name, 300))
		if spec.Message != "" {
			for _, line := range printable.Lines(spec.Message, 12, 300) {
				fmt.Fprintf(&b, "                  %s\n", line)
			}
			fmt.Fprintf(&b, "                  at %s\n", printable.Line(spec.Location, 300))
		}
	}
	fmt.Fprintf(&b, "\n%d passed, %d failed, %d skipped\n", result.Passed, result.Failed, result.Skipped)
	return b.String()
}

// handoffNow is what the run last told its suites, with the facts of the guest as it is now. A drift that the run has judged, and
// that is still the same, keeps its class; others count as findings.
func (e *environment) handoffNow(ctx context.Context, dir string) (handoff.Handoff, error) {
	h, err := lastHandoff(dir)
	if err != nil {
		return h, err
	}
	now, err := e.keptNow(ctx, dir)
	if err != nil {
		return h, err
	}
	judged := map[string]drift.Drift{}
	for _, d := range h.Drifts {
		judged[d.Key.String()] = d
	}
	volatile := volatility(dir)
	drifts := drift.Compare(h.Baseline, now.Facts)
	for i, d := range drifts {
		before, known := judged[d.Key.String()]
		switch {
		case known && sameDrift(before, d):
			drifts[i] = before
		case volatile != nil && volatile.Explains(d):
			drifts[i].Class = drift.Volatile
		default:
			drifts[i].Class = drift.Finding
		}
	}
	h.Facts, h.Drifts, h.Expect = now.Facts, drifts, nil
	if n := len(h.Boots); now.BootID != "" && (n == 0 || h.Boots[n-1].ID != now.BootID) {
		h.Boots = append(h.Boots, handoff.Boot{ID: now.BootID, Mode: byHand}) // somebody has rebooted it
	}
	return h, nil
}

// lastHandoff is what the run's suites were told last; a run without suites has only its facts.
func lastHandoff(dir string) (handoff.Handoff, error) {
	baseline, err := recorded(dir, "baseline")
	if err != nil {
		return handoff.Handoff{}, err
	}
	phases, err := phasesOf(dir)
	if err != nil {
		return handoff.Handoff{}, err
	}
	h := handoff.Handoff{Phase: byHand, Baseline: baseline.Facts}
	// The suites ran at baseline, after everything was applied, and after each reboot.
	for _, phase := range append([]string{"baseline", "apply"}, phases...) {
		if known, err := handoff.Read(filepath.Join(dir, rundir.Suites, phase+".handoff.json")); err == nil {
			h = known
		}
	}
	h.Socket, h.Report, h.Labels = "", "", ""
	return h, nil
}

func sameDrift(a, b drift.Drift) bool {
	return a.Change == b.Change && fmt.Sprint(a.Was, a.Is) == fmt.Sprint(b.Was, b.Is) // maps print in order of their keys
}
