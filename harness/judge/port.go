package judge

import (
	"slices"
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// firstEphemeral is where Linux starts to choose ports by itself (net.ipv4.ip_local_port_range's default).
const firstEphemeral = 32768

// splitPort takes tcp/127.0.0.1:80 apart. Unix sockets have no port: ok is false.
func splitPort(name string) (protocol, address, port string, ok bool) {
	protocol, rest, found := strings.Cut(name, "/")
	colon := strings.LastIndex(rest, ":")
	if !found || colon < 0 || protocol == "unix" {
		return "", "", "", false
	}
	return protocol, rest[:colon], rest[colon+1:], true
}

func isLoopback(address string) bool {
	return strings.HasPrefix(address, "127.") || address == "::1" || address == "[::1]"
}

func (h *hearing) rulePort(d drift.Drift) ruling {
	if _, _, _, inet := splitPort(d.Key.Name); !inet {
		return h.ruleUnixSocket(d)
	}
	switch d.Change {
	case drift.Removed:
		return h.portLost(d)
	case drift.Added:
		return h.portAppeared(d)
	default:
		return h.portChanged(d)
	}
}

func (h *hearing) portLost(d drift.Drift) ruling {
	if wide, ok := h.widenedTo(d); ok {
		return follows(wide)
	}
	if h.movesByItself(d, drift.Added) {
		return volatile("the program lets the kernel choose its port")
	}
	f := fault("PL201", d, "nothing listens on "+d.Key.Name+" any more")
	if id, ok := h.found(unitKey(d.Was["unit"])); ok {
		f.Cause = d.Was["unit"] + " held it (" + id + ")"
	} else if others := h.portsOf(d.Was["unit"], drift.Added); others != "" {
		f.Cause = d.Was["unit"] + " held it, and listens on " + others + " now"
	}
	return finding(f)
}

func (h *hearing) portAppeared(d drift.Drift) ruling {
	if narrow := h.widenedFrom(d.Key.Name); len(narrow) > 0 {
		f := fault("PL203", d, "a port that only this machine could reach is open to the network: "+d.Key.Name)
		f.Was, f.Is = strings.Join(narrow, ", "), d.Key.Name+", "+f.Is
		return finding(f)
	}
	if h.movesByItself(d, drift.Removed) {
		return volatile("the program lets the kernel choose its port")
	}
	f := fault("PL202", d, "something listens on "+d.Key.Name+" that did not before")
	_, address, _, _ := splitPort(d.Key.Name)
	if isLoopback(address) {
		f.Severity = verdict.Warning // reachable from the machine itself only
	}
	if id, ok := h.found(unitKey(d.Is["unit"])); ok {
		f.Cause = d.Is["unit"] + " opened it (" + id + ")"
	} else if others := h.portsOf(d.Is["unit"], drift.Removed); others != "" {
		f.Cause = d.Is["unit"] + " listened on " + others + " before"
	}
	return finding(f)
}

// portsOf lists the ports that a unit has lost or opened.
func (h *hearing) portsOf(unit string, change drift.Change) string {
	var names []string
	for key, d := range h.drifts {
		if _, _, _, inet := splitPort(key.Name); key.Kind == fact.KindPort && inet && unit != "" && d.Change == change &&
			d.Was["unit"]+d.Is["unit"] == unit {
			names = append(names, key.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (h *hearing) portChanged(d drift.Drift) ruling {
	if old, current := d.Was["executable"], d.Is["executable"]; old != current && current != "" {
		if len(h.moved) == 0 {
			return finding(warn("PL202", d, d.Key.Name+" is held by another program now"))
		}
		return expected("the candidate replaced the program that holds it")
	}
	return finding(warn("PL202", d, d.Key.Name+" changed its owner"))
}

// widenedTo finds, for a loopback port that is gone, the same port open to more.
func (h *hearing) widenedTo(d drift.Drift) (wide fact.Key, found bool) {
	for key, other := range h.drifts {
		if key.Kind == fact.KindPort && other.Change == drift.Added && widens(d.Key.Name, key.Name) &&
			(!found || key.Compare(wide) < 0) {
			wide, found = key, true
		}
	}
	return wide, found
}

// widenedFrom finds, for a new port, the loopback ports that it was: mostly one for each family of addresses.
func (h *hearing) widenedFrom(name string) []string {
	var narrow []string
	for key, other := range h.drifts {
		if key.Kind == fact.KindPort && other.Change == drift.Removed && widens(key.Name, name) {
			narrow = append(narrow, key.Name)
		}
	}
	slices.Sort(narrow)
	return narrow
}

func widens(before, after string) bool {
	protocol, address, port, _ := splitPort(before)
	newProtocol, newAddress, newPort, _ := splitPort(after)
	return protocol == newProtocol && port == newPort && isLoopback(address) && !isLoopback(newAddress)
}

// movesByItself tells whether the same program has another kernel-chosen port on the other side of the comparison.
func (h *hearing) movesByItself(d drift.Drift, opposite drift.Change) bool {
	protocol, address, port, _ := splitPort(d.Key.Name)
	if number, err := strconv.Atoi(port); err != nil || number < firstEphemeral {
		return false
	}
	program := d.Was["executable"] + d.Is["executable"]
	for key, other := range h.drifts {
		if key.Kind != fact.KindPort || other.Change != opposite {
			continue
		}
		otherProtocol, otherAddress, otherPort, inet := splitPort(key.Name)
		number, err := strconv.Atoi(otherPort)
		if inet && err == nil && number >= firstEphemeral && otherProtocol == protocol && otherAddress == address &&
			other.Was["executable"]+other.Is["executable"] == program {
			return true
		}
	}
	return false
}

func (h *hearing) ruleUnixSocket(d drift.Drift) ruling {
	owner := unitKey(d.Was["unit"] + d.Is["unit"])
	switch d.Change {
	case drift.Removed:
		if _, ok := h.found(owner); ok {
			return follows(owner)
		}
		return finding(warn("PL201", d, "nothing listens on "+d.Key.Name+" any more"))
	case drift.Added:
		if _, ok := h.found(owner); ok {
			return follows(owner)
		}
		return finding(note("PL202", d, d.Key.Name+" is new"))
	default:
		// systemd holds the socket until its service starts, then both do: who answers first is a matter of time.
		return volatile("the socket is there, as before")
	}
}
