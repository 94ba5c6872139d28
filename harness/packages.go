package harness

import (
	"context"
	"slices"

	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
)

// buildPackages makes the packages of all sources before anything boots: what does not build is told in a second. They stay
// in the run directory, since what was tested is what is deployed.
func (r *run) buildPackages(ctx context.Context) error {
	builder := patch.Builder{Dir: r.scenario.Dir, To: r.dir.File(rundir.Packages)}
	r.built = map[string]map[string]string{}
	for _, increment := range r.steps() {
		built, err := builder.Build(ctx, increment)
		if err != nil {
			return err
		}
		r.built[increment.Name] = built
	}
	return nil
}

// steps are all that is done to the guest: what is given, then the increments.
func (r *run) steps() []scenario.Increment {
	if r.scenario.Given == nil {
		return r.scenario.Increments
	}
	return slices.Concat([]scenario.Increment{*r.scenario.Given}, r.scenario.Increments)
}
