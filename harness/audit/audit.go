// Package audit tells, before a guest is rebooted, whether it would come back: from facts about what the next boot depends on, by
// rules alone. What was so before the patch is told apart from what the patch brought.
package audit

import (
	"cmp"
	"slices"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// Finding is a finding of the audit.
type Finding struct {
	verdict.Finding
	// About is the fact whose drift explains it, where that is not its subject: the file in which the fault lies.
	About fact.Key
}

// Compare judges what the next boot depends on, from sets of [fact.KindBoot]. old is what was wrong before the patch already; found
// is what is wrong now, the old among it, and what is wrong only in comparison. evidence names the file that holds the set of now.
func Compare(before, now fact.Set, evidence string) (old, found []Finding) {
	was, is := newState(before), newState(now)
	old, found = was.inspect(), is.inspect()
	found = append(found, is.lostFallback(was)...)
	found = append(found, is.lockedOut(was, news(old, found))...)
	for _, list := range [][]Finding{old, found} {
		slices.SortFunc(list, func(a, b Finding) int {
			return cmp.Or(cmp.Compare(a.ID, b.ID), a.Subject.Compare(b.Subject), cmp.Compare(a.Title, b.Title))
		})
		for i := range list {
			entry, _ := verdict.Lookup(list[i].ID)
			list[i].Remedy = cmp.Or(list[i].Remedy, entry.Remedy)
			for e := range list[i].Evidence {
				list[i].Evidence[e].File = evidence
			}
		}
	}
	return old, found
}

// news tells whether something is found that was not there before and that may stop the boot.
func news(old, found []Finding) bool {
	return slices.ContainsFunc(found, func(f Finding) bool {
		known := slices.ContainsFunc(old, func(o Finding) bool { return o.ID == f.ID && o.Subject == f.Subject })
		stops := slices.Contains([]string{"PL701", "PL703", "PL705"}, f.ID)
		return !known && stops && f.Severity == verdict.Error
	})
}

// inspect applies the rules that look at one state of the guest.
func (s *state) inspect() []Finding {
	if s.set.Len() == 0 {
		return nil // it was never read
	}
	return slices.Concat(s.loader(), s.firmware(), s.defaultEntry(), s.otherEntries(), s.newest(), s.autoremoved(), s.room(), s.tables(),
		s.units(), s.checks())
}

func finding(severity verdict.Severity, id string, subject fact.Key, title string, lines ...string) Finding {
	f := Finding{Finding: verdict.Finding{ID: id, Severity: severity, Subject: subject, Title: title}}
	f.Evidence = []verdict.Evidence{{Lines: lines}}
	return f
}

// mend says how, where the catalogue's word is too general.
func (f Finding) mend(remedy string) Finding {
	f.Remedy = remedy
	return f
}

func (f Finding) because(cause string) Finding {
	f.Cause = cause
	return f
}

func (f Finding) about(file string) Finding {
	f.About = fileKey(file)
	return f
}

func fileKey(path string) fact.Key { return fact.Key{Kind: fact.KindFile, Name: path} }
