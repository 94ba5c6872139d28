package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
)

// lastRun is the name of the youngest run.
const lastRun = "last"

// findRun returns the directory of a run: by its path, its id or the beginning of its id, or as "last".
func (e *environment) findRun(name string) (string, error) {
	if isRun(name) && (strings.ContainsRune(name, filepath.Separator) || name == ".") {
		return filepath.Abs(name)
	}
	ids, err := e.runs()
	if err != nil {
		return "", err
	}
	var found []string
	for _, id := range ids {
		if id == name {
			return filepath.Join(e.Dirs.Runs, id), nil
		}
		if name != "" && strings.HasPrefix(id, name) {
			found = append(found, id)
		}
	}
	switch {
	case name == lastRun && len(ids) > 0:
		return filepath.Join(e.Dirs.Runs, ids[0]), nil
	case len(found) == 1:
		return filepath.Join(e.Dirs.Runs, found[0]), nil
	case len(found) > 1:
		return "", usage(fmt.Errorf("%q is the beginning of %d runs: %s", name, len(found), strings.Join(found[:min(5, len(found))], ", ")))
	case len(ids) == 0:
		return "", usage(fmt.Errorf("there is no run %q: there is none at all in %s", name, e.Dirs.Runs))
	}
	return "", usage(fmt.Errorf("there is no run %q in %s; name a run directory, an id or its beginning, or %q (the youngest is %s)",
		name, e.Dirs.Runs, lastRun, ids[0]))
}

// runs returns the ids of all runs, the youngest first: an id begins with its time.
func (e *environment) runs() ([]string, error) {
	entries, err := os.ReadDir(e.Dirs.Runs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for runs: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		if isRun(filepath.Join(e.Dirs.Runs, entry.Name())) {
			ids = append(ids, entry.Name())
		}
	}
	slices.Reverse(ids)
	return ids, nil
}

// isRun tells a run directory by what every run writes first.
func isRun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, rundir.Scenario))
	return err == nil
}

// isKept tells whether a run left its guest running.
func isKept(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, rundir.Kept))
	return err == nil
}

// completeRuns offers runs, with what they said; only kept ones, where one needs a guest. Paths are fine as well.
func (e *environment) completeRuns(kept bool) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return e.describeRuns(kept), cobra.ShellCompDirectiveDefault | cobra.ShellCompDirectiveKeepOrder
	}
}

// describeRuns lists runs for a shell's completion: the id, a tab, and what it was.
func (e *environment) describeRuns(kept bool) []string {
	const most = 30 // results to read while somebody waits for the completion
	ids, err := e.runs()
	if err != nil {
		return nil
	}
	var described []string
	for _, id := range ids {
		dir := filepath.Join(e.Dirs.Runs, id)
		if kept && !isKept(dir) {
			continue
		}
		if len(described) == most {
			break
		}
		what := "has no result"
		if content, err := os.ReadFile(filepath.Join(dir, rundir.Result)); err == nil {
			if result, err := report.Unmarshal(content); err == nil {
				what = result.Scenario + ": " + string(result.Outcome)
			}
		}
		described = append(described, id+"\t"+what)
	}
	return described
}
