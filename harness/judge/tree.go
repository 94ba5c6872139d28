package judge

import (
	"fmt"
	"path"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// asTrees tells a directory that appeared, and whose files belong to nobody, as one thing: a copied tree is not as many findings as it
// has files. What is more than such a file (set-uid, a key to log in with) stays a finding of its own.
func (h *hearing) asTrees(found []verdict.Finding) []verdict.Finding {
	files := map[fact.Key]int{}
	for _, f := range found {
		if top, ok := h.newTree(f); ok {
			files[top]++
		}
	}
	var told []verdict.Finding
	for _, f := range found {
		top, ok := h.newTree(f)
		switch n := files[top]; {
		case !ok || n == 1:
			told = append(told, f)
		case n > 1:
			title := fmt.Sprintf("%s appeared with %d files, which belong to no package", top.Name, n)
			told = append(told, warn("PL305", h.drifts[top], title))
			files[top] = 0 // told
		}
	}
	return told
}

// newTree returns the uppermost directory above a file of nobody's that appeared together with the file.
func (h *hearing) newTree(f verdict.Finding) (top fact.Key, ok bool) {
	if f.ID != "PL305" || f.Severity != verdict.Warning || h.drifts[f.Subject].Change != drift.Added {
		return top, false
	}
	for name := path.Dir(f.Subject.Name); name != "/" && name != "."; name = path.Dir(name) {
		above := fact.Key{Kind: fact.KindFile, Name: name}
		if d, moved := h.drifts[above]; moved && d.Change == drift.Added && isDirectory(d) {
			top, ok = above, true
		}
	}
	return top, ok
}
