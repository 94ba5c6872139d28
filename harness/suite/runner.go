// Package suite runs ginkgo suites against a guest, in processes of their own, and reads what they report.
//
// A failed spec is an answer; an error of this package means that there is no answer (the process crashed, hung, reported
// nothing, or could not reach the guest), which is a fault of the lab or of the suite and never blamed on a patch.
package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/handoff"
)

// ExecCommand is patchlab's hidden command that runs built-in suites.
const ExecCommand = "suite-exec"

// Runner starts suites.
type Runner struct {
	// Program is patchlab itself, called with [ExecCommand] for built-in suites and expectations.
	Program string
	// Dir is where relative paths of compiled suites start: the scenario's directory.
	Dir string
	// Env is added to this process's environment.
	Env []string
}

// Check finds what is wrong with the suites of a scenario before a run starts: names that are not among the known ones
// and paths at which there is no program. Directories must have been compiled. It reports all at once.
func (r Runner) Check(suites, known []string) error {
	var wrong []error
	named := map[string]int{}
	for i, s := range suites {
		if first, twice := named[name(s)]; twice {
			wrong = append(wrong, fmt.Errorf("suites[%d]: %q is there already, as suites[%d]", i, name(s), first))
		}
		named[name(s)] = i
		if !isPath(s) {
			if !slices.Contains(known, s) {
				wrong = append(wrong, fmt.Errorf("suites[%d]: unknown suite %q (have %s, or a path such as ./shop.test)",
					i, s, strings.Join(known, ", ")))
			}
			continue
		}
		info, err := os.Stat(r.path(s))
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Errorf("suites[%d]: %w", i, err))
		case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
			wrong = append(wrong, fmt.Errorf("suites[%d]: %s is no program: compile the suite with `go test -c`", i, s))
		}
	}
	return errors.Join(wrong...)
}

// Run runs the suites that the handoff names, built-in ones and compiled ones by their path, and its expectations, with the
// guest behind conn. The evidence goes to files whose paths start with files (run.File("suites", "baseline")): .log, .json
// (ginkgo's report) and .handoff.json; compiled suites add their name. The caller sets the deadline.
//
// When there is an error, the report still holds what could be read.
func (r Runner) Run(ctx context.Context, h handoff.Handoff, conn guest.Conn, files string) (Report, error) {
	var names, paths []string
	for _, s := range h.Suites {
		if isPath(s) {
			paths = append(paths, s)
		} else {
			names = append(names, s)
		}
	}
	socket, stop, err := serve(ctx, conn)
	if err != nil {
		return Report{}, err
	}
	h.Socket = socket

	var report Report
	var failures []error
	if len(names)+len(h.Expect) > 0 {
		builtIn := h
		builtIn.Suites = names
		part, err := r.execute(ctx, process{
			title: "the suites of " + h.Phase, program: r.Program, args: []string{ExecCommand}, files: files,
		}, builtIn)
		report.add(part)
		failures = append(failures, err)
	}
	for _, path := range paths {
		compiled := h
		compiled.Suites, compiled.Expect = nil, nil // the expectations have been judged above
		part, err := r.execute(ctx, process{
			title: "the suite " + path + " of " + h.Phase, program: r.path(path), files: files + "-" + name(path),
			args: []string{"-test.timeout=0", "-ginkgo.no-color", "-ginkgo.seed=1"}, suite: name(path),
		}, compiled)
		report.add(part)
		failures = append(failures, err)
	}
	failures = append(failures, stop())
	return report, errors.Join(failures...)
}

// execute runs one suite process and reads its report.
func (r Runner) execute(ctx context.Context, p process, h handoff.Handoff) (Report, error) {
	p.dir, p.env = r.Dir, r.Env
	// The process has its own working directory.
	for _, path := range []*string{&p.program, &p.files} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return Report{}, fmt.Errorf("running %s: %w", p.title, err)
		}
		*path = absolute
	}
	handoffFile := p.files + ".handoff.json"
	h.Report = p.files + ".json"
	if err := h.Write(handoffFile); err != nil {
		return Report{}, fmt.Errorf("running %s: %w", p.title, err)
	}
	// An older report, of a phase that was tried before, must not be taken for this one's.
	if err := os.Remove(h.Report); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Report{}, fmt.Errorf("running %s: %w", p.title, err)
	}
	ended := p.run(ctx, handoffFile)
	report, err := readReport(h.Report, p.suite)
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%s did not end in time (%w)%s", p.title, context.Cause(ctx), p.lastWords())
	case err != nil && ended != nil:
		err = fmt.Errorf("%s ended without a report: %w%s", p.title, ended, p.lastWords())
	case err != nil:
		err = fmt.Errorf("%s: %w%s", p.title, err, p.lastWords())
	default:
		err = report.labFault(p.title) // the exit code of a test binary says no more than its failed specs
	}
	return report, err
}

func (r Runner) path(suite string) string {
	if filepath.IsAbs(suite) {
		return suite
	}
	return filepath.Join(r.Dir, suite)
}

// name is what a suite is called in reports and file names.
func name(suite string) string { return strings.TrimSuffix(filepath.Base(suite), ".test") }

// isPath tells a compiled suite from the name of a built-in one.
func isPath(suite string) bool { return strings.ContainsRune(suite, filepath.Separator) }

// serve lets suite processes reach the guest until stop is called.
func serve(ctx context.Context, conn guest.Conn) (socket string, stop func() error, err error) {
	if conn == nil {
		return "", func() error { return nil }, nil
	}
	listener, err := handoff.Listen()
	if err != nil {
		return "", nil, err
	}
	serving, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- handoff.Serve(serving, listener, conn) }()
	return listener.Addr().String(), func() error {
		cancel()
		return <-served
	}, nil
}
