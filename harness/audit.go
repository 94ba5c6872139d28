package harness

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/patchlab/patchlab/harness/audit"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe"
)

// audit judges, before the guest is rebooted in a mode, or after it was last touched, whether it would come back.
func (r *run) audit(ctx context.Context, c *clone, mode string) error {
	capture := strings.TrimSuffix("audit-"+mode, "-")
	return r.phase("audit", "", func(p *phase) error {
		now, err := r.readBoot(ctx, c, p, capture)
		if err != nil {
			return err
		}
		old, found := audit.Compare(r.known.Boot, now, factsFile(capture))
		for _, f := range found {
			p.note("%s %s", f.ID, f.Title)
		}
		r.judge.Audit(old, found, r.onlyIncrement())
		return nil
	})
}

// readBoot reads what the next boot depends on, and keeps it as evidence.
func (r *run) readBoot(ctx context.Context, c *clone, p *phase, name string) (fact.Set, error) {
	var read probe.Document
	_, err := p.step("audit", func() error {
		return r.overCut(ctx, c, p, func() error {
			ctx, cancel := context.WithTimeout(ctx, r.bounds.Probe)
			defer cancel()
			return c.read(ctx, func(by probe.Runner) (err error) {
				read, err = probe.BootFacts(ctx, by)
				return err
			})
		})
	})
	if err != nil {
		return fact.Set{}, fmt.Errorf("reading what the next boot depends on: %w", err)
	}
	for _, n := range read.Notes {
		p.note("the probe could not read everything: %s: %s", n.Kind, n.Error)
	}
	return read.Facts, errors.Join(err, r.writeFacts(factsFile(name), read.Facts))
}
