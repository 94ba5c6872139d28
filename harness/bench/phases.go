package bench

import (
	"slices"

	"github.com/patchlab/patchlab/harness/report"
)

// Phase sums up one phase of several runs. Its own seconds are those of the whole phase.
type Phase struct {
	Name      string `json:"name"`
	Increment string `json:"increment,omitempty"`
	*Seconds
	Steps map[string]*Seconds `json:"steps,omitempty"`
}

// Phases sums up the phases that runs of one scenario went through, in their order. What was cached or left out is no phase that
// took time.
func Phases(runs []report.Result) []Phase {
	type times struct {
		whole []float64
		steps map[string][]float64
	}
	var order []line
	found := map[line]*times{}
	for _, run := range runs {
		var here []line
		sums := map[line]report.Phase{}
		for _, p := range run.Phases {
			if p.Status == "cached" || p.Status == "skipped" {
				continue
			}
			at := line{p.Name, p.Increment}
			sum, again := sums[at] // there are several teardowns
			if again {
				here = slices.DeleteFunc(here, func(l line) bool { return l == at }) // it stands where the last is
			} else {
				sum.Steps = map[string]float64{}
			}
			here = append(here, at)
			sum.Seconds += p.Seconds
			for name, took := range p.Steps {
				sum.Steps[name] += took
			}
			sums[at] = sum
		}
		order = merge(order, here)
		for at, sum := range sums {
			if found[at] == nil {
				found[at] = &times{steps: map[string][]float64{}}
			}
			found[at].whole = append(found[at].whole, sum.Seconds)
			for name, took := range sum.Steps {
				found[at].steps[name] = append(found[at].steps[name], took)
			}
		}
	}
	phases := []Phase{}
	for _, at := range order {
		p := Phase{Name: at.step, Increment: at.increment, Seconds: seconds(found[at].whole)}
		for name, values := range found[at].steps {
			if p.Steps == nil {
				p.Steps = map[string]*Seconds{}
			}
			p.Steps[name] = seconds(values)
		}
		phases = append(phases, p)
	}
	return phases
}
