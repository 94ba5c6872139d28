package fact

import "strings"

// ConnectionSocket returns the socket unit of a service instance that serves one client's connection (Accept=yes), which
// systemd names NAME@NUMBER-LOCAL-REMOTE.service: another name for every connection. ok is false for every other unit. Whether
// there is such a socket is for the caller to look up.
func ConnectionSocket(unit string) (socket string, ok bool) {
	name, instance, isInstance := strings.Cut(strings.TrimSuffix(unit, ".service"), "@")
	number, ends, _ := strings.Cut(instance, "-")
	if !isInstance || !strings.HasSuffix(unit, ".service") || name == "" || number == "" || !strings.Contains(ends, "-") {
		return "", false
	}
	if strings.Trim(number, "0123456789") != "" {
		return "", false
	}
	return name + ".socket", true
}

// ServesConnection tells whether a unit serves one client's connection and the socket that made it is there, in a set.
func (s Set) ServesConnection(unit string) bool {
	socket, ok := ConnectionSocket(unit)
	if !ok {
		return false
	}
	_, there := s.Get(KindUnit, socket)
	return there
}

// UnitOf returns the unit that a fact belongs to by its name: a unit itself, a process or a stale process. It is empty for
// other kinds.
func (k Key) UnitOf() string {
	switch k.Kind {
	case KindUnit:
		return k.Name
	case KindProcess, KindStale:
		unit, _, _ := strings.Cut(k.Name, " ")
		return unit
	default:
		return ""
	}
}
