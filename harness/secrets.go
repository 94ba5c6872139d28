package harness

import (
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/rundir"
)

// hideSecrets hides what the guest's own words hold of them, in the result and in the evidence. The facts came without. A
// guest that was kept still writes to its console, which must stay the same file.
func (r *run) hideSecrets() error {
	r.result.Reason = r.hider.Hide(r.result.Reason)
	for i := range r.result.Boots {
		r.result.Boots[i].Cause = r.hider.Hide(r.result.Boots[i].Cause)
	}
	r.hideWaysBack()
	for i, f := range r.result.Findings {
		for _, text := range []*string{&f.Title, &f.Was, &f.Is, &f.Cause, &f.Remedy} {
			*text = r.hider.Hide(*text)
		}
		f.Evidence = slices.Clone(f.Evidence)
		for j, e := range f.Evidence {
			if len(e.Lines) > 0 {
				f.Evidence[j].Lines = strings.Split(r.hider.Hide(strings.Join(e.Lines, "\n")), "\n")
			}
		}
		r.result.Findings[i] = f
	}
	for i := range r.specs {
		r.specs[i].Message = r.hider.Hide(r.specs[i].Message)
	}
	keep := []string{rundir.Facts, rundir.HelperFacts, rundir.Handoffs, rundir.Kept}
	if r.dir.Has(rundir.Kept) {
		keep = append(keep, rundir.Console)
	}
	return r.hider.HideBelow(r.dir.Path, keep...)
}

// hideWaysBack does so in what is told of fallbacks and ways out: why they failed is in the guest's words.
func (r *run) hideWaysBack() {
	for _, f := range append(slices.Clone(r.result.Fallbacks), r.result.Fallback) {
		if f != nil {
			f.Why = r.hider.Hide(f.Why)
		}
	}
	if r.result.Rescue == nil {
		return
	}
	for i, way := range r.result.Rescue.Tried {
		way.Why = r.hider.Hide(way.Why)
		for _, words := range [][]string{way.Steps, way.Lacks} {
			for j := range words {
				words[j] = r.hider.Hide(words[j])
			}
		}
		r.result.Rescue.Tried[i] = way
	}
}
