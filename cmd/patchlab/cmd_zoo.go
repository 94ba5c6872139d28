package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/printable"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
	"github.com/patchlab/patchlab/harness/zoo"
	"github.com/patchlab/patchlab/scenarios"
)

const zooLong = `Try patches whose right verdict is known, some that do harm and some that only look like it, and print a score card:

  detection     of those that do harm, how many got the outcome and the findings that they must
  false alarms  of the harmless ones, how many did not pass
  attribution   how many named the right increments and the right phase, where the truth does
  diagnosis     how many named the stage in which the boot ended, where the truth does
  way back      how many proved a fallback or found a rescue, where the truth says that there is one

A case is a scenario with a truth. Without names, all of the zoo run; --dry-run lists them. A case is named without the zoo's name
before it, and any other scenario that says its truth may be named, too. Cases about which the lab came to no verdict are counted
apart, and no truth of theirs holds. The exit code is 0 when every truth holds, else 10.`

const zooExample = `  patchlab zoo --dry-run
  patchlab zoo port-moves stale-library
  patchlab zoo --jobs auto --output json > card.json
  patchlab zoo grub-cfg-empty --image debian-12-efi
  patchlab zoo kernel ./our-own-incident.yaml`

// zooOptions are the flags of `patchlab zoo`.
type zooOptions struct {
	cases  []string
	image  string
	jobs   string
	cold   bool
	rescue bool
	dryRun bool
}

// zooDir is where the cases are among the scenarios that come with patchlab.
const zooDir = "zoo/"

func newZooCommand(env *environment) *cobra.Command {
	var options zooOptions
	cmd := &cobra.Command{
		Use:     "zoo [CASE...]",
		Short:   "Try patches whose right verdict is known, and score the verdicts",
		Long:    zooLong,
		Example: zooExample,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return zooCases(), cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			options.cases = args
			return env.zoo(cmd.Context(), options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.jobs, "jobs", "1", "how many cases to run at once: `N`, or auto for as many as this host has processors and memory for")
	flags.BoolVar(&options.cold, "cold", false, "boot each clone, instead of letting it go on from a saved guest")
	flags.StringVar(&options.image, "image", "", "the `IMAGE` to clone, in place of the cases' own")
	flags.BoolVar(&options.rescue, "rescue", true, "prove the ways back; without, nothing is scored about them")
	flags.BoolVar(&options.dryRun, "dry-run", false, "only list the cases and their truths")
	complete(cmd, "jobs", autoJobs)
	completeImage(env, cmd)
	return cmd
}

// zooCases names all cases.
func zooCases() (cases []string) {
	for _, name := range scenarios.Names() {
		if short, ok := strings.CutPrefix(name, zooDir); ok {
			cases = append(cases, short)
		}
	}
	return cases
}

// scenarioOfCase turns the name of a case into that of a scenario.
func scenarioOfCase(name string) string {
	if slices.Contains(zooCases(), name) {
		return zooDir + name
	}
	return name
}

func (e *environment) zoo(ctx context.Context, options zooOptions) error {
	jobs, err := parseJobs(options.jobs)
	if err != nil {
		return usage(err)
	}
	if len(options.cases) == 0 {
		options.cases = zooCases()
	}
	var named []string
	for _, name := range options.cases {
		named = append(named, scenarioOfCase(name))
	}
	loaded, remove, err := loadAll(e, runOptions{scenarios: named, rescue: options.rescue, candidate: candidate{image: options.image}})
	defer remove()
	if err = errors.Join(err, wantTruths(loaded)); err != nil {
		return usage(err)
	}
	if options.dryRun {
		return e.listZoo(loaded)
	}
	endSuites, err := readySuites(ctx, e, loaded)
	defer endSuites()
	if err != nil {
		return usage(err)
	}
	card := zoo.NewCard(e.runZoo(ctx, loaded, options, jobs))
	if err := e.render(card, text(zooTable(card))); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return &exitError{code: verdict.Interrupted.ExitCode()}
	case !card.Holds():
		return &exitError{code: verdict.Regression.ExitCode()}
	}
	return nil
}

func wantTruths(loaded []scenario.Scenario) error {
	var without []error
	for _, s := range loaded {
		if s.Truth == nil {
			without = append(without, fmt.Errorf("%s says no truth, so there is nothing to score: add `truth: {outcome: ...}` to it", s.Name))
		}
	}
	return errors.Join(without...)
}

// runZoo returns what came of each case; one that was not begun has no verdict.
func (e *environment) runZoo(ctx context.Context, loaded []scenario.Scenario, options zooOptions, jobs int) []zoo.Case {
	runner, done := e.runner()
	sink, endOfProgress := e.sink()
	outcomes, telling := start(ctx, loaded, min(jobs, len(loaded)), func(s scenario.Scenario) (report.Result, error) {
		return runner(ctx, runRequest{Scenario: s, Cold: options.cold, Sink: sink})
	})
	cases := make([]zoo.Case, len(loaded))
	for i, s := range loaded { // those that are never begun
		cases[i] = zoo.NewCase(s.Name, report.NewTruth(*s.Truth), report.Result{}, 0)
	}
	for i := range telling {
		o := outcomes[i]
		if o.err != nil {
			o.result.Reason = o.err.Error()
		}
		cases[i] = zoo.NewCase(loaded[i].Name, report.NewTruth(*loaded[i].Truth), o.result, o.took.Seconds())
		sink.Emit(progress.Event{Kind: progress.Note, Run: cases[i].Name, Step: "zoo", Text: caseLine(cases[i]), At: time.Now()})
	}
	endOfProgress()
	if err := done(); err != nil {
		e.notice("closing the hypervisor: " + err.Error())
	}
	return cases
}

// caseLine tells of a case that has ended.
func caseLine(c zoo.Case) string {
	said := strings.Join(append([]string{string(c.Outcome)}, c.Findings...), " ")
	switch {
	case c.Unjudged != "":
		return fmt.Sprintf("%s: no verdict: %s", c.Name, c.Unjudged)
	case c.Truth.Holds:
		return fmt.Sprintf("%s: %s, as it ought to be", c.Name, said)
	default:
		return fmt.Sprintf("%s: %s, but %s", c.Name, said, strings.Join(c.Truth.Mismatch, "; "))
	}
}

// listZoo renders what could be run.
func (e *environment) listZoo(loaded []scenario.Scenario) error {
	type row struct {
		Name        string       `json:"name"`
		Image       string       `json:"image"`
		Truth       report.Truth `json:"truth"`
		Description string       `json:"description"`
	}
	rows := make([]row, 0, len(loaded))
	for _, s := range loaded {
		rows = append(rows, row{s.Name, s.Image, report.NewTruth(*s.Truth), s.Description})
	}
	return e.render(rows, func(w io.Writer) error {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "CASE\tIMAGE\tTRUTH")
		for _, r := range rows {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", r.Name, r.Image, truthWords(r.Truth))
		}
		return table.Flush()
	})
}

func truthWords(t report.Truth) string {
	words := append([]string{string(t.Outcome)}, t.Findings...)
	if t.BootStage != "" {
		words = append(words, "at "+t.BootStage)
	}
	if t.Fallback != "" {
		words = append(words, "fallback "+t.Fallback)
	}
	if t.Rescue != "" {
		words = append(words, "rescue "+t.Rescue)
	}
	return strings.Join(words, " ")
}

// zooTable renders the score card for a person.
func zooTable(card zoo.Card) string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "CASE\tTRUTH\tVERDICT\tSECONDS")
	for _, c := range card.Cases {
		said := strings.Join(append([]string{string(c.Outcome)}, c.Findings...), " ")
		if c.Unjudged != "" {
			said = "none"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%.0f\n", c.Name, truthWords(c.Truth), said, c.Seconds)
	}
	_ = table.Flush() // to memory
	b.WriteString("\n")
	var wrong bool
	for _, c := range card.Cases {
		if c.Unjudged != "" || !c.Truth.Holds {
			wrong = true
			b.WriteString(printable.Line(caseLine(c), maxCaseLine) + "\n  evidence: " + or(c.RunDir, "none") + "\n")
		}
	}
	if wrong {
		b.WriteString("\n")
	}
	scores := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range []struct {
		name  string
		score zoo.Score
	}{
		{"detection", card.Detection},
		{"false alarms", card.FalseAlarms},
		{"attribution", card.Attribution},
		{"diagnosis", card.Diagnosis},
		{"way back", card.WayBack},
	} {
		_, _ = fmt.Fprintf(scores, "%s\t%d of %d\n", row.name, row.score.Count, row.score.Of)
	}
	if card.Unjudged > 0 {
		_, _ = fmt.Fprintf(scores, "no verdict\t%d\n", card.Unjudged)
	}
	_, _ = fmt.Fprintf(scores, "seconds\t%.0f\n", card.Seconds)
	_ = scores.Flush() // to memory
	return b.String()
}

// maxCaseLine is how much of a case's line is shown, in runes.
const maxCaseLine = 500
