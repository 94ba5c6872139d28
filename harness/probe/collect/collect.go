// Package collect reads a guest into facts. It runs inside the guest, changes nothing there, and believes nothing: sizes,
// counts and lengths are bounded, names are cleaned, and a collector that fails leaves a note instead of its facts.
//
// A new kind of fact is a new file with a [Collector], and its line in [All].
package collect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// A Collector reads the facts of one kind. It may return facts together with an error: those that it could read.
type Collector struct {
	Kind    fact.Kind
	Collect func(context.Context, *Source) ([]fact.Fact, error)
}

// All returns every collector, in the order in which they run.
func All() []Collector {
	return []Collector{
		{fact.KindPackage, packages},
		{fact.KindUnit, units},
		{fact.KindProcess, processes},
		{fact.KindPort, ports},
		{fact.KindStale, stale},
		{fact.KindFile, files},
		{fact.KindUser, users},
		{fact.KindMount, mounts},
		{fact.KindKernel, kernels},
		{fact.KindSysctl, sysctls},
		{fact.KindAddress, addresses},
	}
}

// Timing is how long a collector took.
type Timing struct {
	Kind  fact.Kind
	Took  time.Duration
	Facts int
}

// Run runs the collectors one after the other: the guest has one processor. now is the guest's clock.
func Run(ctx context.Context, src *Source, collectors []Collector, now func() time.Time) (protocol.Document, []Timing) {
	doc := protocol.Document{Probe: protocol.Version, BootID: BootID(src), TakenAt: now().UTC()}
	var all []fact.Fact
	var timings []Timing
	for _, c := range collectors {
		began := now()
		found, err := run(ctx, src, c)
		if room := protocol.MaxFacts - len(all); len(found) > room {
			found = found[:room]
			err = errors.Join(err, fmt.Errorf("more than %d facts", protocol.MaxFacts))
		}
		for _, f := range found {
			all = append(all, protocol.CleanFact(f))
		}
		if err != nil {
			doc.Notes = append(doc.Notes, protocol.Note{Kind: c.Kind, Error: protocol.Clean(err.Error())})
		}
		timings = append(timings, Timing{Kind: c.Kind, Took: now().Sub(began), Facts: len(found)})
	}
	doc.Facts = fact.NewSet(all...)
	if src.walked != nil {
		doc.Files = src.walked.answer(doc.Facts)
	}
	return doc, timings
}

// run turns a panic into an error: what one parser trips over must not hide what the others read.
func run(ctx context.Context, src *Source, c Collector) (found []fact.Fact, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading %s facts: panic: %v", c.Kind, p)
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading %s facts: %w", c.Kind, context.Cause(ctx))
	}
	return c.Collect(ctx, src)
}
