package lab

import (
	"fmt"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/patchlab/patchlab/harness/fact"
)

// BeActive succeeds for the name of a unit that is active in the facts of this phase; "nginx" means nginx.service.
func BeActive() types.GomegaMatcher {
	return &stated{what: "be active", judge: func(facts fact.Set, name string) (bool, fact.Key, string) {
		if !strings.Contains(name, ".") {
			name += ".service"
		}
		key := fact.Key{Kind: fact.KindUnit, Name: name}
		unit, found := facts.Get(key.Kind, key.Name)
		if !found {
			return false, key, "there is no unit " + name
		}
		is := fmt.Sprintf("it is %s (%s)", unit.Attribute("active"), unit.Attribute("sub"))
		if result := unit.Attribute("result"); result != "" && result != "success" {
			is += ", result " + result
		}
		return unit.Attribute("active") == "active", key, is
	}}
}

// BeListening succeeds for a port on which something listens in the facts of this phase: "tcp/80" on any address,
// "tcp/127.0.0.1:80" on that one or on all, "unix/PATH".
func BeListening() types.GomegaMatcher {
	return &stated{what: "be listening", judge: func(facts fact.Set, name string) (bool, fact.Key, string) {
		protocol, port, _ := strings.Cut(name, "/")
		for _, f := range facts.OfKind(fact.KindPort) {
			if serves(f.Name, protocol, port) {
				return true, f.Key(), "it is listening: " + f.Name
			}
		}
		return false, fact.Key{Kind: fact.KindPort, Name: name}, "nothing listens there; what does: " + others(facts, protocol)
	}}
}

// serves tells whether a port's name (tcp/*:80) is what was asked for (80, or 127.0.0.1:80).
func serves(name, protocol, wanted string) bool {
	isProtocol, address, _ := strings.Cut(name, "/")
	if isProtocol != protocol {
		return false
	}
	host, number, hasPort := cutPort(address)
	wantedHost, wantedNumber, hasWanted := cutPort(wanted)
	switch {
	case !hasPort || protocol == "unix":
		return address == wanted
	case !hasWanted:
		return number == wanted
	default:
		return number == wantedNumber && (host == wantedHost || host == "*")
	}
}

// cutPort cuts at the last colon: addresses of IPv6 have others.
func cutPort(address string) (host, port string, found bool) {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return "", "", false
	}
	return address[:i], address[i+1:], true
}

func others(facts fact.Set, protocol string) string {
	var names []string
	for _, f := range facts.OfKind(fact.KindPort) {
		if strings.HasPrefix(f.Name, protocol+"/") {
			names = append(names, legible(f.Name))
		}
	}
	if len(names) == 0 {
		return "nothing at all"
	}
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return strings.Join(names, ", ")
}

// stated judges a name by the facts of this phase.
type stated struct {
	what  string
	judge func(fact.Set, string) (holds bool, subject fact.Key, is string)
	facts *fact.Set // nil: of this phase

	subject fact.Key
	is      string
}

func (m *stated) Match(actual any) (bool, error) {
	name, ok := actual.(string)
	if !ok {
		return false, fmt.Errorf("the matcher takes a name, not %T", actual)
	}
	facts := m.facts
	if facts == nil {
		now := Now()
		facts = &now
	}
	var holds bool
	holds, m.subject, m.is = m.judge(*facts, name)
	return holds, nil
}

func (m *stated) FailureMessage(actual any) string {
	Blame(m.subject)
	return fmt.Sprintf("Expected %s to %s, but %s", actual, m.what, m.is)
}

func (m *stated) NegatedFailureMessage(actual any) string {
	Blame(m.subject)
	return fmt.Sprintf("Expected %s not to %s, but %s", actual, m.what, m.is)
}
