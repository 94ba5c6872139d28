package collect

import (
	"context"
	"maps"
	"slices"

	"github.com/patchlab/patchlab/harness/fact"
)

// Off returns the collectors that make sense of a system that does not run: its root file system is mounted, and the processes
// beside it are not its own.
func Off() []Collector {
	return []Collector{
		{fact.KindPackage, packages},
		{fact.KindUnit, unitsOff},
		{fact.KindFile, files},
		{fact.KindUser, users},
		{fact.KindKernel, kernelsOff},
	}
}

// unitsOff says of units what their files do: nobody has loaded them.
func unitsOff(_ context.Context, src *Source) ([]fact.Fact, error) {
	files, err := readUnitFiles(src)
	var facts []fact.Fact
	for _, name := range append(slices.Collect(maps.Keys(files.units)), files.linkedInstances()...) {
		if wantedUnit(name) {
			facts = append(facts, fact.Fact{Kind: fact.KindUnit, Name: name, Attributes: files.describe(name)})
		}
	}
	return facts, err
}

// kernelsOff leaves out the kernel that runs: it is the helper's.
func kernelsOff(ctx context.Context, src *Source) ([]fact.Fact, error) {
	facts, err := kernels(ctx, src)
	return slices.DeleteFunc(facts, func(f fact.Fact) bool { return f.Name == "running" }), err
}
