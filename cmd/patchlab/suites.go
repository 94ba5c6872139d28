package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/suites"
)

// workshop is where suites that are Go packages are compiled, as long as a command needs them.
type workshop struct{ dir string }

// ready compiles the suites of a scenario that are Go packages, and finds what is wrong with any of them: before a run starts,
// not an hour later. It returns the names with which the suites are run.
func (w *workshop) ready(ctx context.Context, env *environment, names []string, dir string) ([]string, error) {
	runner := suite.Runner{Dir: dir}
	ready := slices.Clone(names)
	for i, name := range ready {
		if !runner.IsPackage(name) {
			continue
		}
		to, err := w.room(i)
		if err != nil {
			return nil, err
		}
		env.progress("compiling " + name)
		if ready[i], err = runner.Compile(ctx, name, to); err != nil {
			return nil, fmt.Errorf("suites[%d]: %w", i, err)
		}
	}
	return ready, runner.Check(ready, suites.Names())
}

// room makes a directory of its own for each suite: two may have one name, which is for the check to find.
func (w *workshop) room(i int) (string, error) {
	if w.dir == "" {
		dir, err := os.MkdirTemp("", "patchlab-suites-")
		if err != nil {
			return "", fmt.Errorf("making a temporary directory: %w", err)
		}
		w.dir = dir
	}
	to := filepath.Join(w.dir, fmt.Sprint(i))
	if err := os.MkdirAll(to, 0o700); err != nil {
		return "", fmt.Errorf("making a temporary directory: %w", err)
	}
	return to, nil
}

func (w *workshop) close() {
	if w.dir != "" {
		_ = os.RemoveAll(w.dir) // below the temporary directory, which is cleaned anyway
	}
}

// readySuites does so for all scenarios that are to run, each in a room of its own.
func readySuites(ctx context.Context, env *environment, loaded []scenario.Scenario) (remove func(), err error) {
	workshops := make([]workshop, len(loaded))
	var wrong []error
	for i := range loaded {
		ready, err := workshops[i].ready(ctx, env, loaded[i].Suites, loaded[i].Dir)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %s", loaded[i].Name, strings.ReplaceAll(err.Error(), "\n", "\n  ")))
			continue
		}
		loaded[i].Suites = ready
	}
	return func() {
		for i := range workshops {
			workshops[i].close()
		}
	}, errors.Join(wrong...)
}
