package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/verdict"
)

// keepByHand remembers what the guest is when the given state has been made and before it is turned off: what was only started or set
// there is in no image.
func (r *run) keepByHand(ctx context.Context, c *clone, p *phase) error {
	c.fresh = false // nobody else's files are like these
	facts, err := r.capture(ctx, c, p, "given")
	if err != nil {
		return err
	}
	err = os.MkdirAll(filepath.Dir(r.ranGiven), 0o755)
	if err == nil {
		err = writeDigested(r.ranGiven, facts)
	}
	if err != nil {
		return fmt.Errorf("keeping what the given state has started: %w", err)
	}
	return nil
}

// tellByHand tells what the given state has started or set by hand, as a machine's administrator would have: no boot brings it back, and
// no patch is to blame.
func (r *run) tellByHand() error {
	if r.ranGiven == "" {
		return nil
	}
	var facts fact.Set
	if !readDigested(r.ranGiven, &facts) {
		r.emit(progress.Note, "baseline", "it is not known any more what the given state has started by hand", 0)
		return nil
	}
	used(r.ranGiven, r.lab.Now())
	for _, f := range judge.ByHand(facts, r.known.Baseline, false) {
		f.Phase, f.OldRot = "prepare", true
		f.Evidence = []verdict.Evidence{{File: factsFile("given")}}
		r.judge.Add(f)
	}
	return r.writeFacts(factsFile("given"), facts)
}
