package judge

import (
	"cmp"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// splitStale takes the name of a stale fact apart: its unit, its executable and the file that is not on the disk any more.
func splitStale(name string) (unit, executable, file string) {
	parts := append(strings.SplitN(name, " ", 3), "", "")
	return parts[0], parts[1], parts[2]
}

// ruleStale: processes that still run what the candidate replaced. It is the unit that has to be restarted, so that all of
// its processes and all of their files make one statement, which the first of its drifts carries.
func (h *hearing) ruleStale(d drift.Drift) ruling {
	if d.Change != drift.Added {
		return expected("no longer stale")
	}
	unit, _, _ := splitStale(d.Key.Name)
	connection := h.servesConnection(unit)
	// Nobody restarts what serves a client: when all else is restarted, waiting for the reboot is no excuse.
	leftAlone := connection && h.Phase != "apply"
	if h.RestartsPending && h.base.Restart != scenario.RestartNone && !leftAlone {
		return expected("to be restarted")
	}
	all := h.staleOf(unit)
	if first := all[0].Key; first != d.Key {
		return follows(first)
	}
	id, severity := "PL601", verdict.Error
	title := unit + " still runs files that were replaced"
	switch {
	case connection && h.base.Restart != scenario.RestartNone && leftAlone:
		id, title = "PL602", templateOf(unit)+" still serves an open connection with replaced files after all that was advised"
	case h.restarted[unit]:
		id, title = "PL602", unit+" still runs replaced files after its restart"
	case h.base.Restart != scenario.RestartNone && !h.Rebooted:
		severity = verdict.Warning // told as a reason to reboot; an error if it survives that
	}
	f := statement(severity, id, d, title)
	f.Subject = fact.Key{Kind: fact.KindStale, Name: h.staleSubject(unit)}
	f.Was, f.Is, f.Cause = "", "", whoMapsWhat(all)
	if unit == "init.scope" {
		f.Remedy = "That is systemd itself, which is not restarted but executes itself anew: systemctl daemon-reexec."
	}
	if severity == verdict.Warning && !isSession(unit) {
		f.Remedy = "Reboot: its restart would take others down with it, so that it was left alone."
	}
	if connection {
		f.Remedy = "New connections get the new files; this one keeps the old ones until its client hangs up, and a restart of the " +
			"socket does not end it. To end it: systemctl stop '" + unit + "'."
	}
	return finding(f)
}

// staleSubject is what a statement about a unit's stale processes is about. The instances of a per-connection service, whose names
// are chance, are one.
func (h *hearing) staleSubject(unit string) string {
	if h.servesConnection(unit) {
		return templateOf(unit)
	}
	return unit
}

// templateOf returns NAME@.service for an instance.
func templateOf(unit string) string {
	name, _, _ := strings.Cut(unit, "@")
	return name + "@.service"
}

// staleOf lists the drifts of a unit's stale processes that nothing excuses, in order.
func (h *hearing) staleOf(unit string) []drift.Drift {
	var all []drift.Drift
	for key, d := range h.drifts {
		if owner, _, _ := splitStale(key.Name); key.Kind != fact.KindStale || d.Change != drift.Added ||
			h.staleSubject(owner) != h.staleSubject(unit) {
			continue
		}
		if _, allowed := h.allowance(d); !allowed && !h.unpatchedAt(h.Mode).volatile.Explains(d) {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b drift.Drift) int { return a.Key.Compare(b.Key) })
	return all
}

// whoMapsWhat says it in a line: "/usr/sbin/nginx (pid 512,513) maps the deleted /usr/lib/libcrypto.so.3, /usr/lib/libssl.so.3".
// A session's processes are told with their users and terminals too: it is those people who have to log out.
func whoMapsWhat(stale []drift.Drift) string {
	var lines []string
	for len(stale) > 0 {
		unit, executable, _ := splitStale(stale[0].Key.Name)
		var files, pids []string
		who := stale[0].Is
		for len(stale) > 0 {
			owner, same, file := splitStale(stale[0].Key.Name)
			if same != executable || owner != unit {
				break
			}
			files = append(files, file)
			pids = append(pids, strings.Split(stale[0].Is["pids"], ",")...)
			stale = stale[1:]
		}
		owner := ""
		if isSession(unit) {
			owner = " of " + who["users"] + " on " + cmp.Or(who["tty"], "no terminal")
		}
		if _, ok := fact.ConnectionSocket(unit); ok {
			owner = " of " + unit
		}
		lines = append(lines,
			executable+" (pid "+distinct(pids)+owner+") maps the deleted "+strings.Join(files, ", "))
	}
	return strings.Join(lines, "; ")
}

// distinct joins process ids, in the order of their numbers.
func distinct(pids []string) string {
	slices.SortFunc(pids, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return strings.Join(slices.Compact(pids), ",")
}
