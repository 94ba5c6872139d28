package collect

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// probeFiles starts the path of every version of the probe.
const probeFiles = protocol.Dir + "/probe"

// processes reads the processes of each unit, by executable. Kernel threads are none.
func processes(_ context.Context, src *Source) ([]fact.Fact, error) {
	table, err := src.table()
	if table == nil {
		return nil, err
	}
	groups := map[string]*crowd{}
	for p := range table.visible {
		join(groups, protocol.CleanWord(p.unit)+" "+protocol.CleanWord(p.executable), p)
	}
	facts := make([]fact.Fact, 0, len(groups))
	for name, g := range groups {
		attributes := g.attributes()
		attributes["count"] = strconv.Itoa(len(g.pids))
		delete(attributes, "tty")
		if g.detached {
			attributes["detached"] = "true"
		}
		facts = append(facts, fact.Fact{Kind: fact.KindProcess, Name: name, Attributes: attributes})
	}
	return facts, err
}

// crowd is a group of processes that share a fact.
type crowd struct {
	pids             []int
	users, terminals []string
	detached         bool
}

func join(groups map[string]*crowd, name string, p process) {
	g := groups[name]
	if g == nil {
		g = &crowd{}
		groups[name] = g
	}
	g.pids = append(g.pids, p.pid)
	g.users = append(g.users, p.user)
	g.detached = g.detached || inSession(p.unit) && p.terminal == "" && p.parent == 1
	if p.terminal != "" {
		g.terminals = append(g.terminals, p.terminal)
	}
}

// attributes renders pids, users and tty, each sorted.
func (g *crowd) attributes() map[string]string {
	slices.Sort(g.pids)
	pids := make([]string, len(g.pids))
	for i, pid := range g.pids {
		pids[i] = strconv.Itoa(pid)
	}
	return map[string]string{
		"pids": strings.Join(pids, ","), "users": sortedList(g.users), "tty": sortedList(g.terminals),
	}
}

// sortedList joins the distinct words.
func sortedList(words []string) string {
	words = slices.Clone(words)
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ",")
}
