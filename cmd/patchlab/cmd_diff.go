package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/report"
)

const diffLong = `Show side by side how facts differ: of a run its baseline and its last phase (or --phase), or any two runs, files of facts
(patchlab facts --output json) and live machines (USER@HOST).

Between the two columns stands < for what is gone, > for what is new, | for what has changed. Of changed text files below
/etc the lines are shown. What differs without any patch (process ids, counters: seen by a run in its unpatched control) is
left out; --all shows it. The exit code is 0 whether or not there are differences.`

const diffExample = `  patchlab diff last
  patchlab diff last --phase apply-openssl --kind unit,port
  patchlab diff web1-before.json web1-after.json
  patchlab diff web1.json root@web1.example.org --kind package`

// diffOptions are the flags of `patchlab diff`.
type diffOptions struct {
	sources []string
	phase   string
	kinds   []string
	all     bool
	machine machineOptions
}

func newDiffCommand(env *environment) *cobra.Command {
	var options diffOptions
	cmd := &cobra.Command{
		Use:     "diff RUN | A B",
		Short:   "Show side by side what a patch has changed, or how two machines differ",
		Long:    diffLong,
		Example: diffExample,
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			options.sources = args
			return env.diff(cmd.Context(), options)
		},
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		return env.completeRuns(false)(cmd, args[:max(0, len(args)-1)], word) // the second argument as well
	}
	flags := cmd.Flags()
	flags.StringVar(&options.phase, "phase", "", "a `PHASE` of the run (of both, if there are two) instead of the last one")
	flags.StringSliceVar(&options.kinds, "kind", nil, "only facts of these kinds (`KIND,...`)")
	flags.BoolVar(&options.all, "all", false, "also what differs without any patch")
	options.machine.flags(flags)
	complete(cmd, "kind", kindNames()...)
	completePhases(env, cmd)
	return cmd
}

// compared is the result of `diff`.
type compared struct {
	Was      string  `json:"was"`
	Is       string  `json:"is"`
	Volatile int     `json:"volatile"` // drifts that happen without any patch, and were left out
	Drifts   []moved `json:"drifts"`
}

// moved is a drift with the change of the text that it is about.
type moved struct {
	drift.Drift
	Diff string `json:"diff,omitempty"` // unified, for text files
}

func (e *environment) diff(ctx context.Context, options diffOptions) error {
	if err := checkKinds(options.kinds); err != nil {
		return err
	}
	was, is, volatile, err := e.sides(ctx, options)
	if err != nil {
		return err
	}
	was, is = was.only(options.kinds), is.only(options.kinds)
	if whole(was.Facts) != whole(is.Facts) {
		was.Facts, is.Facts = onlyEtc(was.Facts), onlyEtc(is.Facts)
		e.progress("one side has no files but those below /etc: only these are compared (facts --files system reads all of a machine)")
	}
	result := compared{Was: was.title(), Is: is.title(), Drifts: []moved{}}
	comparison := report.Comparison{Was: result.Was, Is: result.Is, Before: was.Facts, After: is.Facts}
	for _, d := range drift.Compare(was.Facts, is.Facts) {
		if volatile != nil && volatile.Explains(d) || isData(was.Facts, d) && isData(is.Facts, d) {
			d.Class = drift.Volatile
			if !options.all {
				result.Volatile++
				continue
			}
		}
		comparison.Drifts = append(comparison.Drifts, d)
		result.Drifts = append(result.Drifts, moved{d, textDiff(was.Facts, is.Facts, d)})
	}
	return e.render(result, func(w io.Writer) error {
		shown := report.SideBySide(comparison, report.View{Width: width(w), Colour: e.colour(w)})
		if result.Volatile > 0 {
			shown += fmt.Sprintf("\n%d more differ without any patch; --all shows them.\n", result.Volatile)
		}
		_, err := io.WriteString(w, shown)
		return err
	})
}

// whole tells whether a set has all files of its system.
func whole(s fact.Set) bool {
	_, root := s.Get(fact.KindFile, "/")
	return root || len(s.OfKind(fact.KindFile)) == 0
}

// onlyEtc leaves of the files those below /etc.
func onlyEtc(s fact.Set) fact.Set {
	return fact.NewSet(slices.DeleteFunc(slices.Clone(s.All()), func(f fact.Fact) bool {
		return f.Kind == fact.KindFile && !strings.HasPrefix(f.Name, "/etc/")
	})...)
}

// isData tells whether a drift is one of files that change all the time, as far as one side knows.
func isData(side fact.Set, d drift.Drift) bool {
	f, _ := side.Get(d.Key.Kind, d.Key.Name)
	return d.Key.Kind == fact.KindFile && judge.IsData(d.Key.Name) && f.Attribute("package") == ""
}

// sides reads what is to be compared. A run alone knows what moves without a patch: it has looked twice before the patch, and
// after an unpatched reboot.
func (e *environment) sides(ctx context.Context, options diffOptions) (was, is snapshot, known *drift.Volatility, err error) {
	if len(options.sources) == 2 {
		if was, err = e.snapshot(ctx, options.sources[0], phaseOfRun(options, 0), options.machine); err != nil {
			return was, is, nil, err
		}
		is, err = e.snapshot(ctx, options.sources[1], phaseOfRun(options, 1), options.machine)
		return was, is, nil, err
	}
	if isMachine(options.sources[0]) {
		return was, is, nil, usage(errors.New("a machine is compared with something: name a second machine, a run or a file of facts"))
	}
	dir, err := e.findRun(options.sources[0])
	if err != nil {
		return was, is, nil, err
	}
	if was, err = recorded(dir, "baseline"); err != nil {
		return was, is, nil, err
	}
	if options.phase == phaseNow {
		is, err = e.keptNow(ctx, dir)
	} else {
		is, err = recorded(dir, options.phase)
	}
	was.Source, was.Phase = was.Phase, "" // it is the same run
	is.Source, is.Phase = is.Phase, ""
	return was, is, volatility(dir), err
}

// phaseOfRun is --phase for those of the two sources that are runs.
func phaseOfRun(options diffOptions, i int) string {
	if name := options.sources[i]; isMachine(name) || filepath.Ext(name) == ".json" {
		return phaseLast
	}
	return options.phase
}

// volatility is what a run has learned about its unpatched guest; nil when it did not come to that.
func volatility(dir string) *drift.Volatility {
	var samples []fact.Set
	for _, phase := range []string{"baseline", "baseline-second", "control"} {
		if s, err := recorded(dir, phase); err == nil {
			samples = append(samples, s.Facts)
		}
	}
	if len(samples) < 2 {
		return nil
	}
	learned := drift.Learn(samples...)
	return &learned
}

func textDiff(before, after fact.Set, d drift.Drift) string {
	if d.Key.Kind != fact.KindFile || d.Change != drift.Changed || !slices.Contains(attributesOf(d), "sha256") {
		return ""
	}
	was, _ := before.Get(d.Key.Kind, d.Key.Name)
	is, _ := after.Get(d.Key.Kind, d.Key.Name)
	return udiff.Unified("was"+d.Key.Name, "is"+d.Key.Name, was.Attribute("text"), is.Attribute("text"))
}

func attributesOf(d drift.Drift) []string {
	var names []string
	for name := range d.Was {
		names = append(names, name)
	}
	return names
}
