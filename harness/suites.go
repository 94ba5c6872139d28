package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/harness/verdict"
)

// noSSH is why a phase is left out.
const noSSH = "no ssh"

// specs are the suites' answers by spec name.
type specs map[string]suite.State

// suitesBefore asks the suites for the state before the patch. What fails already is old rot: told, then left out.
func (r *run) suitesBefore(ctx context.Context, c *clone, p *phase) error {
	answers, err := r.suites(ctx, c, p, handoff.Handoff{Phase: "baseline", Facts: r.known.Baseline}, "baseline")
	if err != nil {
		return err
	}
	r.before = specs{}
	broken := map[int]bool{}
	for _, spec := range answers.Specs {
		r.before[spec.Name] = spec.State
		if spec.State != suite.Failed {
			continue
		}
		if spec.Expectation >= 0 {
			broken[spec.Expectation] = true
		}
		r.judge.Add(withRemedy(verdict.Finding{
			ID: "PL905", Severity: verdict.Warning, OldRot: true, Phase: "prepare", Subject: specKey(spec.Name),
			Title:    "fails already before the patch: " + spec.Name,
			Cause:    firstLine(spec.Message),
			Evidence: []verdict.Evidence{{File: rundir.Suites + "/baseline.log"}},
		}))
	}
	var kept []scenario.Expect
	for i, e := range r.scenario.Expect {
		if !broken[i] {
			kept = append(kept, e)
		}
	}
	r.expect = kept
	return nil
}

// compare runs the suites on the patched guest. name is "apply" or "reboot".
// Over the guest agent they cannot run: they ask the guest's ports, and what the facts show is judged already.
func (r *run) compare(ctx context.Context, c *clone, name, mode string) error {
	if c.outOfBand {
		r.skip("compare", "", noSSH)
		return nil
	}
	return r.phase("compare", "", func(p *phase) error {
		file := strings.TrimSuffix(name+"-"+mode, "-")
		answers, err := r.suites(ctx, c, p, handoff.Handoff{
			Phase: name, Reboot: mode, Facts: r.facts, Drifts: r.judge.Last(), Packages: r.movedPackages(),
		}, file)
		if err != nil {
			return err
		}
		r.judgeSpecs(answers, name, mode, file)
		return nil
	})
}

func (r *run) suites(
	ctx context.Context, c *clone, p *phase, h handoff.Handoff, file string,
) (answers suite.Report, err error) {
	h.Baseline, h.Suites, h.Expect = r.known.Baseline, r.scenario.Suites, r.scenario.Expect
	if r.before != nil {
		h.Expect = r.expect
	}
	h.Patience = r.bounds.Command
	for i, id := range r.bootIDs {
		if id != "" {
			h.Boots = append(h.Boots, handoff.Boot{ID: id, Mode: r.result.Boots[i].Mode, Seconds: r.result.Boots[i].Seconds})
		}
	}
	if len(h.Suites)+len(h.Expect) == 0 {
		return suite.Report{}, nil
	}
	_, err = p.step("suites", func() error {
		answers, err = r.lab.Suites.Run(ctx, h, c.conn, r.dir.File(rundir.Suites, file))
		return err
	})
	if err != nil {
		return answers, fmt.Errorf("running the suites: %w", err)
	}
	r.result.Suites = append(r.result.Suites, report.SuiteRun{
		Phase: file, Passed: answers.Passed, Failed: answers.Failed, Skipped: answers.Skipped,
	})
	for _, spec := range answers.Specs {
		r.specs = append(r.specs, report.Spec{
			Phase: file, Name: spec.Name, Seconds: spec.Seconds, Message: spec.Message,
			Failed: spec.State == suite.Failed, Skipped: spec.State == suite.Skipped,
		})
	}
	p.note("%d specs passed, %d failed", answers.Passed, answers.Failed)
	return answers, nil
}

// judgeSpecs turns into findings what the facts alone did not tell: failed specs whose subjects have no finding, and
// specs that are gone or skipped though they passed before.
func (r *run) judgeSpecs(answers suite.Report, phase, mode, file string) {
	evidence := []verdict.Evidence{{File: rundir.Suites + "/" + file + ".log"}}
	now := specs{}
	for _, spec := range answers.Specs {
		now[spec.Name] = spec.State
		if spec.State != suite.Failed || r.before[spec.Name] == suite.Failed || r.told(spec.Subjects) {
			continue
		}
		r.tellOnce(withRemedy(verdict.Finding{
			ID: "PL904", Severity: verdict.Error, Phase: phase, Mode: mode, Increment: r.onlyIncrement(), Subject: specKey(spec.Name),
			Title: "fails after the patch: " + spec.Name, Cause: firstLine(spec.Message), Evidence: evidence,
		}))
	}
	for name, before := range r.before {
		state, ran := now[name]
		if before == suite.Passed && (!ran || state == suite.Skipped) {
			r.tellOnce(withRemedy(verdict.Finding{
				ID: "PL903", Severity: verdict.Error, Phase: phase, Mode: mode, Subject: specKey(name),
				Title: "passed before the patch and did not run after it: " + name, Evidence: evidence,
			}))
		}
	}
}

// tellOnce adds a finding about a spec, unless an earlier phase had it: the first one that shows it is the one to look at.
func (r *run) tellOnce(finding verdict.Finding) {
	if !slices.ContainsFunc(r.judge.Findings(), func(f verdict.Finding) bool {
		return f.ID == finding.ID && f.Subject == finding.Subject
	}) {
		r.judge.Add(finding)
	}
}

// told tells whether each of the facts that a spec is about is the subject of a finding already.
func (r *run) told(subjects []fact.Key) bool {
	drifts := r.judge.Last()
	findings := r.judge.Findings()
	return len(subjects) > 0 && !slices.ContainsFunc(subjects, func(key fact.Key) bool {
		inDrift := slices.ContainsFunc(drifts, func(d drift.Drift) bool { return covers(d.Key, key) && d.ID != "" })
		inFinding := slices.ContainsFunc(findings, func(f verdict.Finding) bool { return covers(f.Subject, key) })
		return !inDrift && !inFinding
	})
}

// covers tells whether a fact is the subject of a spec, which may mean a port on whatever address: tcp/80.
func covers(known, subject fact.Key) bool {
	if known == subject {
		return true
	}
	protocol, port, _ := strings.Cut(subject.Name, "/")
	return subject.Kind == fact.KindPort && known.Kind == fact.KindPort && !strings.Contains(port, ":") &&
		strings.HasPrefix(known.Name, protocol+"/") && strings.HasSuffix(known.Name, ":"+port)
}

// onlyIncrement attributes what cannot be attributed otherwise, when there is no choice.
func (r *run) onlyIncrement() string {
	if len(r.scenario.Increments) == 1 {
		return r.scenario.Increments[0].Name
	}
	return ""
}

func specKey(name string) fact.Key { return fact.Key{Kind: "spec", Name: name} }

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
