package judge

import (
	"fmt"
	"path"
	"time"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// allowance finds the announcement of a drift, which need not say what changed. The last day of an allowance still counts.
func (j *Judge) allowance(d drift.Drift) (reason string, ok bool) {
	for i, a := range j.base.Allowances {
		if a.Kind != string(d.Key.Kind) || a.Change != "" && d.Change != "" && a.Change != string(d.Change) || a.Expired(j.base.Now) {
			continue
		}
		if matched, err := path.Match(a.Name, d.Key.Name); err != nil || !matched && a.Name != d.Key.Name {
			continue
		}
		j.matched[i] = true
		return fmt.Sprintf("%s (%s, until %s)", a.Reason, a.Owner, a.Until.Format(time.DateOnly)), true
	}
	return "", false
}

// staleAllowances tells which announcements did nothing: they would hide something one day.
func (j *Judge) staleAllowances() []verdict.Finding {
	var found []verdict.Finding
	for i, a := range j.base.Allowances {
		f := verdict.Finding{
			ID: "PL902", Severity: verdict.Warning, Phase: "compare",
			Subject: fact.Key{Kind: fact.Kind(a.Kind), Name: a.Name},
		}
		switch {
		case a.Expired(j.base.Now):
			f.Title = fmt.Sprintf("the allowance for %s has expired on %s", a.Name, a.Until.Format(time.DateOnly))
		case !j.matched[i]:
			f.Title = "the allowance for " + a.Name + " matched nothing"
		default:
			continue
		}
		if entry, known := verdict.Lookup(f.ID); known {
			f.Remedy = entry.Remedy
		}
		found = append(found, f)
	}
	return found
}
