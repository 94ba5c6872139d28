package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
	"github.com/patchlab/patchlab/scenarios"
)

const runLong = `Run a scenario: clone its image, take a baseline, apply the patch one increment at a time, restart what
needs it, reboot, compare everything with the baseline, and say whether the patch is safe. A scenario is a file, or the
name of one that comes with patchlab; --image runs it on another image than its own. Without a scenario, name an image and what
to install. A suite is named in full, as bookworm-updates, or as a pocket of the image's release: security, updates, backports.

Results go to stdout, progress to stderr; the evidence stays in the run directory that the result names. Several runs
print one result a line with --output json, and end with the worst exit code; with --jobs they run at once.`

const runExample = `  patchlab run openssl-nginx
  patchlab run scenarios/openssl-nginx.yaml --output json --junit junit.xml
  patchlab run --image debian-12-web --upgrade openssl,libssl3 --upgrade nginx
  patchlab run openssl-nginx --image debian-12-efi
  patchlab run openssl-nginx --reboot clean,power-cut
  patchlab run --image debian-12-web --pending security --reboot none --keep
  patchlab run kernel postgresql openssl-nginx --jobs auto --output json`

// runOptions are the flags of `patchlab run`.
type runOptions struct {
	scenarios []string
	candidate candidate
	reboot    string
	keep      bool
	cold      bool
	rescue    bool
	dryRun    bool
	junit     string
	jobs      string
}

// runRequest is what `patchlab run` asks of the harness, once per scenario.
type runRequest struct {
	Scenario scenario.Scenario
	Keep     bool          // leave the guest running for a look
	Cold     bool          // boot each clone
	Sink     progress.Sink // watches
	// Vacation asks for no patch: the scenario's image is rebooted in the scenario's ways.
	Vacation bool
	Live     fact.Set // the machine with which a vacation is compared; empty for none
}

func newRunCommand(env *environment) *cobra.Command {
	var options runOptions
	cmd := &cobra.Command{
		Use:     "run [SCENARIO...]",
		Short:   "Try a patch on a clone and say whether it is safe",
		Long:    runLong,
		Example: runExample,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return scenarios.Names(), cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			options.scenarios = args
			return run(cmd.Context(), env, options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.candidate.image, "image", "", "the `IMAGE` to clone, in place of the scenario's")
	flags.StringArrayVar(&options.candidate.upgrades, "upgrade", nil,
		"upgrade these packages (`PKG,...`); given again, it is the next increment")
	flags.StringVar(&options.candidate.pending, "pending", "", "install everything pending from a `SUITE`, such as security")
	flags.StringVar(&options.candidate.suite, "suite", "", "`SUITE` that has the --upgrade (default: the image's security updates)")
	flags.StringVar(&options.candidate.mode, "mode", "", "how far an upgrade may go: upgrade, with-new-pkgs, full-upgrade")
	flags.StringVar(&options.reboot, "reboot", "", "reboot afterwards: `MODE,...` of clean, power-cut, panic; or none (default: as the scenario says, else clean)")
	flags.BoolVar(&options.rescue, "rescue", true, "prove the fallback after a kernel's update, and the way out of a boot that fails")
	flags.BoolVar(&options.keep, "keep", false, "leave the clone running in the end, for patchlab shell RUN; patchlab gc --kept ends it")
	flags.BoolVar(&options.cold, "cold", false, "boot each clone, instead of letting it go on from a saved guest")
	flags.BoolVar(&options.dryRun, "dry-run", false, "check the scenario and say what would be done, without doing it")
	flags.StringVar(&options.junit, "junit", "", "write the result as JUnit to a `FILE`, too")
	flags.StringVar(&options.jobs, "jobs", "1", "how many scenarios to run at once: `N`, or auto for as many as this host has processors and memory for")
	completeImage(env, cmd)
	complete(cmd, "jobs", autoJobs)
	complete(cmd, "reboot", append(scenario.RebootModes(), noReboot)...)
	complete(cmd, "mode", "upgrade", "with-new-pkgs", "full-upgrade")
	return cmd
}

// completeImage completes --image with the images that are there and those that could be built.
func completeImage(env *environment, cmd *cobra.Command) {
	err := cmd.RegisterFlagCompletionFunc("image", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		rows, _ := imageRows(&image.Store{Dir: env.Dirs.Images}) // what is damaged is not offered
		var names []string
		for _, row := range rows {
			names = append(names, row.Name+"\t"+row.State)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag is not defined: found by every test of the command
	}
}

// run checks everything before anything starts, runs the scenarios, and ends with the worst exit code.
func run(ctx context.Context, env *environment, options runOptions) error {
	if options.junit != "" && len(options.scenarios) > 1 {
		return usage(errors.New("--junit takes the result of one scenario"))
	}
	jobs, err := parseJobs(options.jobs)
	if err != nil {
		return usage(err)
	}
	loaded, remove, err := loadAll(env, options)
	defer remove()
	if err != nil {
		return usage(err)
	}
	endSuites, err := readySuites(ctx, env, loaded)
	defer endSuites()
	if err != nil {
		return usage(err)
	}
	for _, s := range loaded {
		for _, warning := range s.Warnings(time.Now()) {
			env.notice(s.Name + ": " + warning)
		}
	}
	if options.dryRun {
		return plan(env, loaded)
	}
	runner, done := env.runner()
	var codes []int
	if jobs = min(jobs, len(loaded)); jobs > 1 {
		codes = atOnce(ctx, env, runner, loaded, options, jobs)
	} else {
		codes = inTurn(ctx, env, runner, loaded, options)
	}
	if err := done(); err != nil {
		env.notice("closing the hypervisor: " + err.Error())
	}
	if code := worst(codes); code != 0 {
		return &exitError{code: code}
	}
	return nil
}

// tell shows what came of a run and returns its exit code.
func tell(ctx context.Context, env *environment, s scenario.Scenario, e ended, options runOptions, several bool) int {
	result, err := e.result, e.err
	code := result.Outcome.ExitCode()
	if err != nil {
		_, nothing := errors.AsType[*patch.NothingError](err)
		_, fault := errors.AsType[*patch.ScenarioError](err)
		if nothing || fault {
			// There is no verdict to show: neither the patch nor the lab did anything wrong.
			env.notice(fmt.Sprintf("%s: %v (evidence: %s)", s.Name, err, result.RunDir))
			return verdict.ExitUsage
		}
		if ctx.Err() != nil {
			code = verdict.Interrupted.ExitCode()
		}
		env.notice(s.Name + ": " + err.Error())
	}
	if result.Run == "" {
		return code // it did not come to a result
	}
	if err := env.show(result, several); err != nil {
		env.notice(err.Error())
		code = max(code, verdict.ExitInternal)
	}
	if options.keep && isKept(result.RunDir) {
		env.notice(fmt.Sprintf("the guest still runs: `patchlab shell %s` opens a shell in it, `patchlab gc --kept` ends it", result.Run))
	}
	if options.junit != "" {
		if err := copyFile(filepath.Join(result.RunDir, rundir.JUnit), options.junit); err != nil {
			env.notice("writing JUnit: " + err.Error())
			code = max(code, verdict.ExitInternal)
		}
	}
	return code
}

// show prints a result: for a person, or for a program, one a line when there are several.
func (e *environment) show(result report.Result, several bool) error {
	if several && e.Output == "json" {
		line, err := json.Marshal(result)
		if err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
		_, err = e.Stdout.Write(append(line, '\n'))
		return err
	}
	if several && e.Output == "yaml" {
		if _, err := fmt.Fprintln(e.Stdout, "---"); err != nil {
			return err
		}
	}
	return e.render(result, text(report.Summary(result, report.View{Width: width(e.Stdout), Colour: e.colour(e.Stdout)})))
}

// worst is the exit code of several runs: the one that needs a person soonest. Damage goes before what is unknown.
func worst(codes []int) int {
	order := []int{
		0, verdict.ExitUsage, verdict.Testbed.ExitCode(), verdict.ExitInternal, verdict.Regression.ExitCode(),
		verdict.BootFailed.ExitCode(), verdict.ApplyFailed.ExitCode(), verdict.Interrupted.ExitCode(),
	}
	return slices.MaxFunc(append(codes, 0), func(a, b int) int { return slices.Index(order, a) - slices.Index(order, b) })
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
