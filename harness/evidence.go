package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

// mostDiffs bounds the diffs of a run: a guest that rewrites all of /etc is told by its findings.
const mostDiffs = 500

// witness remembers where the proof of a finding lies.
type witness struct {
	facts map[string]string             // "PHASE INCREMENT", "PHASE MODE" and PHASE -> file of the facts
	diffs map[fact.Key]verdict.Evidence // changed file -> its diff
}

// judgeAt judges a boundary whose facts are in the named file, and keeps the diffs of changed texts, and the journal when
// there is something to explain.
func (r *run) judgeAt(ctx context.Context, c *clone, b judge.Boundary, capture string) error {
	before := len(r.judge.Findings())
	if r.witness.facts == nil {
		r.witness = witness{facts: map[string]string{}, diffs: map[fact.Key]verdict.Evidence{}}
	}
	file := filepath.Join(rundir.Facts, capture+".json")
	r.witness.facts[b.Phase+" "+b.Increment] = file
	r.witness.facts[b.Phase+" "+b.Mode] = file
	r.witness.facts[b.Phase] = file
	for _, d := range r.judge.At(b) {
		if err := r.writeDiff(d); err != nil {
			return err
		}
	}
	if len(r.judge.Findings()) <= before {
		return nil
	}
	return r.keepJournal(ctx, c, capture)
}

// keepJournal keeps what the guest's journal says of this boot. A guest that cannot tell is no fault of the run: the
// findings stand on the facts.
func (r *run) keepJournal(ctx context.Context, c *clone, capture string) error {
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Command)
	defer cancel()
	const most = "5000" // lines: a boot of a small server writes under a thousand
	result, err := c.conn.Run(ctx, guest.Command{Line: "journalctl --boot --no-pager --output=short-monotonic --lines=" + most})
	if err != nil || result.ExitCode != 0 {
		return nil // see above
	}
	return r.dir.Write(filepath.Join(rundir.Journal, capture+".log"), result.Stdout)
}

// writeDiff keeps what changed in a text file. Files that not everybody may read have no text in the facts.
func (r *run) writeDiff(d drift.Drift) error {
	if d.Key.Kind != fact.KindFile || d.Class == drift.Volatile || len(r.witness.diffs) >= mostDiffs {
		return nil
	}
	before, _ := r.known.Baseline.Get(d.Key.Kind, d.Key.Name)
	after, _ := r.facts.Get(d.Key.Kind, d.Key.Name)
	diff := udiff.Unified("baseline"+d.Key.Name, "patched"+d.Key.Name, before.Attribute("text"), after.Attribute("text"))
	if diff == "" {
		return nil
	}
	name := filepath.Join(rundir.Diffs, safeName(d.Key.Name)+".diff")
	r.witness.diffs[d.Key] = verdict.Evidence{File: name, Lines: changedLines(diff)}
	return r.dir.Write(name, []byte(diff))
}

// changedLines quotes what a diff takes away and adds, without its headers: enough to see what is lost.
func changedLines(diff string) []string {
	const most = 8
	var lines []string
	hunks := diff[max(0, strings.Index(diff, "\n@@")):]
	for line := range strings.Lines(hunks) {
		if line[0] != '-' && line[0] != '+' {
			continue
		}
		if len(lines) == most {
			return append(lines, "...")
		}
		lines = append(lines, strings.TrimRight(line, "\n"))
	}
	return lines
}

// safeName makes a name for a host's file of a guest's path. It keeps what reads well; the digest keeps it unique.
func safeName(path string) string {
	const most = 80
	readable := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' {
			return c
		}
		return '_'
	}, strings.TrimPrefix(path, "/"))
	sum := sha256.Sum256([]byte(path))
	return strings.TrimLeft(readable[max(0, len(readable)-most):], ".") + "-" + hex.EncodeToString(sum[:4])
}

// prove gives each finding that comes from facts the files that show it.
func (r *run) prove(findings []verdict.Finding) {
	for i, f := range findings {
		file, known := r.witness.facts[f.Phase+" "+f.Increment]
		if f.Mode != "" {
			file, known = r.witness.facts[f.Phase+" "+f.Mode]
		}
		if !known {
			file, known = r.witness.facts[f.Phase]
		}
		if f.OldRot && !known {
			file, known = filepath.Join(rundir.Facts, strings.TrimSuffix("control-"+f.Mode, "-")+".json"), true
		}
		if !known || len(f.Evidence) > 0 {
			continue
		}
		findings[i].Evidence = append(findings[i].Evidence, verdict.Evidence{File: file})
		journal := filepath.Join(rundir.Journal, strings.TrimSuffix(filepath.Base(file), ".json")+".log")
		if f.Subject.Kind == fact.KindUnit && r.dir.Has(journal) {
			findings[i].Evidence = append(findings[i].Evidence, verdict.Evidence{File: journal})
		}
		// What became of a package, and why, is what the package manager said while it did it.
		if log := filepath.Join(rundir.Apply, f.Increment+".log"); f.Subject.Kind == fact.KindPackage && r.dir.Has(log) {
			findings[i].Evidence = append(findings[i].Evidence, verdict.Evidence{File: log})
		}
		if diff, has := r.witness.diffs[f.Subject]; has {
			findings[i].Evidence = append(findings[i].Evidence, diff)
		}
	}
}
