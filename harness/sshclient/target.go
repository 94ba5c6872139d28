package sshclient

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Target is a machine as a person names it. What is not set comes from ssh_config.
type Target struct {
	User string
	Host string // a name, an address, or an alias of ssh_config
	Port int
}

// ParseTarget reads [USER@]HOST[:PORT]; an IPv6 address with a port stands in brackets.
func ParseTarget(text string) (Target, error) {
	var t Target
	rest := text
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		t.User, rest = text[:i], text[i+1:]
		if t.User == "" {
			return Target{}, fmt.Errorf("%q names no user before the @", text)
		}
	}
	t.Host = strings.Trim(rest, "[]")
	if host, port, err := net.SplitHostPort(rest); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Target{}, fmt.Errorf("%q has no port of 1 to 65535 after the colon", text)
		}
		t.Host, t.Port = host, int(n)
	}
	// A host that begins with a dash would be an option to other programs, and is no name anywhere.
	if t.Host == "" || strings.HasPrefix(t.Host, "-") || strings.ContainsAny(t.Host, " /\t\n") {
		return Target{}, fmt.Errorf("%q names no host: want [USER@]HOST[:PORT]", text)
	}
	return t, nil
}

// String renders the target as it is read.
func (t Target) String() string {
	text := t.Host
	if t.Port != 0 {
		text = net.JoinHostPort(t.Host, strconv.Itoa(t.Port))
	}
	if t.User != "" {
		text = t.User + "@" + text
	}
	return text
}
