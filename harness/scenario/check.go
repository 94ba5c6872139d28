package scenario

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
)

// expectation checks one declarative check.
func (v validator) expectation(at string, e Expect) {
	set := 0
	for _, key := range []string{"service", "port", "http", "command", "file"} {
		if v.doc.Has(at + "." + key) {
			set++
		}
	}
	if set != 1 {
		v.doc.Problemf(at, "has %d checks: want exactly one of service, port, http, command, file", set)
	}
	if v.doc.Has(at + ".service") {
		v.unit(at+".service", e.Service)
	}
	if v.doc.Has(at + ".port") {
		v.port(at+".port", e.Port)
	}
	if e.HTTP != nil {
		v.http(at+".http", *e.HTTP)
	}
	if e.Command != nil && strings.TrimSpace(e.Command.Run) == "" {
		v.doc.Problemf(at+".command.run", "is missing: want a command line")
	}
	if e.File != nil {
		if !path.IsAbs(e.File.Path) {
			v.doc.Problemf(at+".file.path", "%q does not do: want an absolute path in the guest", e.File.Path)
		}
		if e.File.Contains == "" {
			v.doc.Problemf(at+".file.contains", "is missing: want the text that the file must have")
		}
	}
}

func (v validator) port(at, port string) {
	protocol, number, _ := strings.Cut(port, "/")
	n, err := strconv.Atoi(number)
	if (protocol != "tcp" && protocol != "udp") || err != nil || n < 1 || n > 65535 || number != strconv.Itoa(n) {
		v.doc.Problemf(at, "%q is no port: want tcp/80 or udp/53", port)
	}
}

func (v validator) http(at string, h HTTP) {
	u, err := url.Parse(h.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		v.doc.Problemf(at+".url", "%q is no address: want one such as http://127.0.0.1/, as seen inside the guest", h.URL)
	}
	if v.doc.Has(at+".status") && (h.Status < 100 || h.Status > 599) {
		v.doc.Problemf(at+".status", "%d is no status: want 100 to 599", h.Status)
	}
}

func (v validator) allowance(at string, a Allowance) {
	kinds := []string{
		string(fact.KindPackage), string(fact.KindUnit), string(fact.KindProcess), string(fact.KindPort),
		string(fact.KindFile), string(fact.KindUser), string(fact.KindMount), string(fact.KindKernel), string(fact.KindStale),
		string(fact.KindSysctl), string(fact.KindAddress),
	}
	for _, required := range []struct{ key, value, want string }{
		{"kind", a.Kind, "one of " + strings.Join(kinds, ", ")},
		{"name", a.Name, "what may change, such as tcp/*:8080"},
		{"reason", a.Reason, "why the drift is right"},
		{"owner", a.Owner, "who answers for it"},
	} {
		if strings.TrimSpace(required.value) == "" {
			v.doc.Problemf(at+"."+required.key, "is missing: want %s", required.want)
		}
	}
	if !v.doc.Has(at + ".until") {
		v.doc.Problemf(at+".until", "is missing: want the last day, such as 2027-01-31: no allowance is for ever")
	}
	v.oneOf(at+".kind", a.Kind, kinds...)
	v.oneOf(at+".change", a.Change, "added", "removed", "changed")
	if a.Name == "" || !slices.Contains(kinds, a.Kind) {
		return
	}
	if _, err := path.Match(a.Name, ""); err != nil {
		v.doc.Problemf(at+".name", "%q is not a pattern: %v", a.Name, err)
	} else if swallows(fact.Kind(a.Kind), a.Name) {
		v.doc.Problemf(at+".name", "%q would hide too much: name %s", a.Name, narrow(fact.Kind(a.Kind)))
	}
}

var (
	wildcard = regexp.MustCompile(`\[[^\]]*\]|\\?[*?]`)
	literal  = regexp.MustCompile(`[\pL\pN]`)
)

// swallows tells whether a pattern matches so much that unannounced drifts would vanish in it: what it says apart from
// wildcards and the frame that all names of the kind share must be two letters or digits at least, and a port needs its number.
func swallows(kind fact.Kind, name string) bool {
	switch kind {
	case fact.KindPort:
		if socket, ok := strings.CutPrefix(name, "unix/"); ok {
			name = strings.TrimPrefix(socket, "/run/")
			break
		}
		number := name[strings.LastIndex(name, ":")+1:]
		return wildcard.MatchString(number) || !literal.MatchString(number)
	case fact.KindFile:
		name = strings.TrimPrefix(name, "/etc/")
	case fact.KindUnit:
		name = strings.TrimSuffix(name, path.Ext(name))
	case fact.KindPackage:
		name, _, _ = strings.Cut(name, ":")
	case fact.KindKernel:
		name = strings.TrimPrefix(name, "installed:")
	case fact.KindUser, fact.KindMount, fact.KindBoot, fact.KindSysctl:
	case fact.KindAddress: // LINK ADDRESS: it is the address that has to be named
		_, address, _ := strings.Cut(name, " ")
		return wildcard.MatchString(address) || !literal.MatchString(address)
	case fact.KindProcess, fact.KindStale: // UNIT EXECUTABLE ...: it is the unit that has to be named
		unit, _, _ := strings.Cut(name, " ")
		return swallows(fact.KindUnit, unit)
	}
	return wildcard.MatchString(name) && len(literal.FindAllString(wildcard.ReplaceAllString(name, ""), -1)) < 2
}

func narrow(kind fact.Kind) string {
	switch kind {
	case fact.KindPort:
		return "the port's number, such as tcp/*:8080, or the socket's path"
	case fact.KindProcess, fact.KindStale:
		return "the unit, or a part of its name"
	default:
		return fmt.Sprintf("the %s, or a part of its name", kind)
	}
}
