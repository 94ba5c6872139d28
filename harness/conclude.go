package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

func emptyResult(s scenario.Scenario, dir *rundir.Dir) report.Result {
	return report.Result{
		Schema: report.ResultSchema, Run: dir.ID, Scenario: s.Name, RunDir: dir.Path,
		Image:    report.Image{Name: s.Image},
		Findings: []verdict.Finding{}, Boots: []report.Boot{}, Guilty: []string{}, Packages: []report.PackageChange{},
		Suites: []report.SuiteRun{}, Phases: []report.Phase{},
		Advice:   report.Advice{Restart: []report.Restart{}, Reboot: report.RebootAdvice{Reasons: []string{}}},
		Rollback: report.Rollback{Routes: []string{}},
	}
}

// conclude applies the rule of outcomes and writes the verdict into the run directory.
func (r *run) conclude(ctx context.Context, err error) (report.Result, error) {
	defer func() { _ = r.dir.Close() }() // all evidence is written
	untested := nothingTested(err)
	if err != nil {
		r.result.Reason = err.Error()
		r.end.LabError = true
	}
	if ctx.Err() != nil {
		r.end.Interrupted = true
		r.result.Reason = fmt.Sprintf("stopped: %v; nothing was left running", context.Cause(ctx))
	}
	if r.judge != nil {
		r.sumUp()
	}
	if err := errors.Join(r.closeLogs(), r.hideSecrets()); err != nil {
		r.end.LabError = true
		r.result.Reason = strings.TrimPrefix(r.result.Reason+"; "+err.Error(), "; ")
	}
	r.result.Outcome = r.end.Outcome()
	r.result.Truth = r.truth()
	if err := r.write(); err != nil { // the caller has the verdict all the same
		r.end.LabError = true
		r.result.Reason = strings.TrimPrefix(r.result.Reason+"; "+err.Error(), "; ")
		r.result.Outcome = r.end.Outcome()
	}
	return r.result, untested
}

// nothingTested returns the part of an error that is neither the candidate's fault nor the lab's, or nil.
func nothingTested(err error) error {
	if nothing, ok := errors.AsType[*patch.NothingError](err); ok {
		return nothing
	}
	if fault, ok := errors.AsType[*patch.ScenarioError](err); ok {
		return fault
	}
	return nil
}

func (r *run) sumUp() {
	r.end.Findings = r.judge.Findings()
	if r.end.Findings == nil {
		r.end.Findings = []verdict.Finding{}
	}
	r.prove(r.end.Findings)
	r.result.Findings = r.end.Findings
	for _, f := range r.result.Findings {
		if f.Blamed() && f.Increment != "" && !slices.Contains(r.result.Guilty, f.Increment) {
			r.result.Guilty = append(r.result.Guilty, f.Increment)
		}
	}
	r.result.Counts.Facts = r.known.Baseline.Len()
	for _, d := range r.judge.Last() {
		switch d.Class {
		case drift.Expected:
			r.result.Counts.Expected++
		case drift.Allowed:
			r.result.Counts.Allowed++
		case drift.Finding, drift.Unclassed:
			r.result.Counts.Findings++
		case drift.Volatile: // see report.Counts
		}
	}
	for _, p := range r.movedPackages() {
		r.result.Packages = append(r.result.Packages, report.PackageChange(p))
	}
	r.result.Lock = report.Lock{Digest: r.lockDigest()}
}

// movedPackages lists what the candidate has moved so far.
func (r *run) movedPackages() []handoff.Package {
	increments := r.judge.Increments()
	var moved []handoff.Package
	for _, d := range r.judge.Moved(r.facts) {
		name := d.Key.Name
		moved = append(moved, handoff.Package{
			Name: name, From: d.Was["version"], To: d.Is["version"], Increment: increments[judge.PackageName(name)],
		})
	}
	return moved
}

// lockDigest freezes the candidate: every package file that was fetched, by its digest, and the scenario's payloads.
func (r *run) lockDigest() string {
	lines := slices.Clone(r.locked)
	slices.Sort(lines)
	sum := sha256.New()
	for _, line := range slices.Compact(lines) {
		_, _ = fmt.Fprintln(sum, line) // a hash never fails
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

func (r *run) write() error {
	content, err := report.Marshal(r.result)
	if err != nil {
		return err
	}
	junit, err := report.JUnit(r.result, r.specs)
	if err != nil {
		return err
	}
	return errors.Join(r.dir.Write(rundir.Result, content), r.dir.Write(rundir.JUnit, junit))
}

// truth compares the verdict with what the scenario says it must be.
func (r *run) truth() *report.Truth {
	want := r.scenario.Truth
	if want == nil {
		return nil
	}
	t := report.NewTruth(*want).Check(r.result)
	return &t
}
