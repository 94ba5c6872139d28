package judge

import (
	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// ruling is what a rule says of one drift.
type ruling struct {
	class    drift.Class
	reason   string
	findings []verdict.Finding
	// because names another drift that this one follows from: it shares that one's fate.
	because fact.Key
}

func expected(reason string) ruling { return ruling{class: drift.Expected, reason: reason} }

func volatile(reason string) ruling { return ruling{class: drift.Volatile, reason: reason} }

func follows(key fact.Key) ruling { return ruling{because: key} }

func finding(found ...verdict.Finding) ruling {
	return ruling{class: drift.Finding, findings: found}
}

// hearing is one boundary under judgement.
type hearing struct {
	*Judge
	Boundary
	drifts  map[fact.Key]drift.Drift
	rulings map[fact.Key]ruling
}

// order in which kinds are judged: what others follow from comes first.
var order = []fact.Kind{
	fact.KindPackage, fact.KindUnit, fact.KindMount, fact.KindUser, fact.KindKernel,
	fact.KindPort, fact.KindProcess, fact.KindFile, fact.KindStale,
}

func (h *hearing) rule(d drift.Drift) ruling {
	switch d.Key.Kind {
	case fact.KindPackage:
		return h.rulePackage(d)
	case fact.KindUnit:
		return h.ruleUnit(d)
	case fact.KindMount:
		return h.ruleMount(d)
	case fact.KindUser:
		return h.ruleUser(d)
	case fact.KindKernel:
		return h.ruleKernel(d)
	case fact.KindPort:
		return h.rulePort(d)
	case fact.KindProcess:
		return h.ruleProcess(d)
	case fact.KindFile:
		return h.ruleFile(d)
	case fact.KindStale:
		return h.ruleStale(d)
	case fact.KindSysctl:
		return h.ruleSysctl(d)
	case fact.KindAddress:
		return h.ruleAddress(d)
	default:
		// A kind without rules must not pass silently: it is told, and hurts nobody.
		return finding(warn("PL307", d, string(d.Key.Kind)+" "+d.Key.Name+" "+string(d.Change)))
	}
}

// classify gives every drift of a boundary its class, and returns the findings.
func (j *Judge) classify(b Boundary) ([]drift.Drift, []verdict.Finding) {
	all := drift.Compare(j.base.Baseline, b.Facts)
	h := &hearing{Judge: j, Boundary: b, drifts: map[fact.Key]drift.Drift{}, rulings: map[fact.Key]ruling{}}
	for _, d := range all {
		h.drifts[d.Key] = d
	}
	rank := map[fact.Kind]bool{}
	for _, kind := range order {
		rank[kind] = true
		h.hear(all, func(k fact.Kind) bool { return k == kind })
	}
	h.hear(all, func(k fact.Kind) bool { return !rank[k] })

	var found []verdict.Finding
	for i, d := range all {
		r := h.resolve(d.Key)
		all[i].Class, all[i].Reason = r.class, r.reason
		if len(r.findings) > 0 {
			all[i].ID = r.findings[0].ID
		}
		found = append(found, h.rulings[d.Key].findings...)
	}
	return all, h.asTrees(found)
}

func (h *hearing) hear(all []drift.Drift, of func(fact.Kind) bool) {
	for _, d := range all {
		if of(d.Key.Kind) {
			h.rulings[d.Key] = h.decide(d)
		}
	}
}

// decide asks in this order: was it announced, does the unpatched guest do it, what does the rule of its kind say.
func (h *hearing) decide(d drift.Drift) ruling {
	if reason, ok := h.allowance(d); ok {
		return ruling{class: drift.Allowed, reason: reason}
	}
	if h.unpatchedAt(h.Mode).volatile.Explains(d) {
		return volatile("seen without the patch as well")
	}
	return h.rule(d)
}

// resolve follows what a drift follows from. A drift that follows from one without a ruling is volatile by the same
// reasoning: the thing that it belongs to did not move.
func (h *hearing) resolve(key fact.Key) ruling {
	r := h.rulings[key]
	for depth := 0; r.because != (fact.Key{}) && depth < 4; depth++ {
		root, judged := h.rulings[r.because]
		if !judged {
			return volatile("belongs to " + r.because.String())
		}
		reason := "follows from " + r.because.String()
		r = root
		r.reason = reason
	}
	return r
}

// found tells whether a key is the subject of a finding at this boundary or before.
func (h *hearing) found(key fact.Key) (string, bool) {
	if r, judged := h.rulings[key]; judged && len(r.findings) > 0 {
		return r.findings[0].ID, true
	}
	for _, f := range h.findings {
		if f.Subject == key {
			return f.ID, true
		}
	}
	return "", false
}

func unitKey(name string) fact.Key { return fact.Key{Kind: fact.KindUnit, Name: name} }

func statement(severity verdict.Severity, id string, d drift.Drift, title string) verdict.Finding {
	f := verdict.Finding{ID: id, Severity: severity, Title: title, Subject: d.Key}
	f.Was, f.Is = render(d.Was), render(d.Is)
	if entry, known := verdict.Lookup(id); known {
		f.Remedy = entry.Remedy
	}
	return f
}

func fault(id string, d drift.Drift, title string) verdict.Finding {
	return statement(verdict.Error, id, d, title)
}

func warn(id string, d drift.Drift, title string) verdict.Finding {
	return statement(verdict.Warning, id, d, title)
}

func note(id string, d drift.Drift, title string) verdict.Finding {
	return statement(verdict.Info, id, d, title)
}
