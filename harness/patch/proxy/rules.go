package proxy

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// target is a file that a guest may have.
type target struct {
	host   string   // the alias
	prefix string   // "/debian/"
	rest   string   // "dists/bookworm/InRelease"
	base   *url.URL // what is behind the prefix
}

// alias is the URL under which the guest knows the file.
func (t target) alias() string { return "http://" + t.host + t.prefix + t.rest }

// path is the path on the alias host, by which the file is cached.
func (t target) path() string { return t.prefix + t.rest }

func (t target) upstream() string { return t.base.JoinPath(strings.Split(t.rest, "/")...).String() }

// immutable reports whether the file never changes once it was there: a package file (an archive never reuses a name) or
// an index under its own digest.
func (t target) immutable() bool {
	inPool := strings.HasPrefix(t.rest, "pool/") && (strings.HasSuffix(t.rest, ".deb") || strings.HasSuffix(t.rest, ".udeb"))
	return inPool || t.digest() != ""
}

// digest is the SHA-256 that the file's name promises, or "".
func (t target) digest() string {
	_, name, ok := strings.Cut(t.rest, "/by-hash/SHA256/")
	if raw, err := hex.DecodeString(name); !ok || err != nil || len(raw) != 32 || name != strings.ToLower(name) {
		return ""
	}
	return name
}

// pathMost bounds a path in bytes; the longest of Debian's have some 200.
const pathMost = 1000

// admit returns what a request asks for, or why it may not have it.
func (p *Proxy) admit(r *http.Request) (target, error) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return target{}, fmt.Errorf("the package proxy only serves GET and HEAD, not %.20q", r.Method)
	case r.URL.Scheme != "http" || r.URL.Host == "":
		return target{}, errors.New("the package proxy only serves http URLs that name a host")
	case r.URL.Host != p.config.Host && r.URL.Host != p.config.Host+":80":
		return target{}, fmt.Errorf("the package proxy only serves %s, not %.100q", p.config.Host, r.URL.Host)
	case r.URL.User != nil || r.URL.RawQuery != "" || r.URL.ForceQuery || r.ContentLength != 0:
		return target{}, errors.New("the package proxy takes no user, query or content")
	case !plainPath(r.URL.Path):
		return target{}, fmt.Errorf("the package proxy serves no such path: %.200q", r.URL.Path)
	}
	for prefix, base := range p.prefixes {
		if rest, ok := strings.CutPrefix(r.URL.Path, prefix); ok {
			return target{host: p.config.Host, prefix: prefix, rest: rest, base: base}, nil
		}
	}
	return target{}, fmt.Errorf("the package proxy has no archive at %.200q", r.URL.Path)
}

// plainPath reports whether a decoded path is made of names such as archives have: no empty name, so neither a double slash
// nor a directory; none that begins with a dot; no character that means something to a URL, a shell or a file system.
func plainPath(path string) bool {
	if len(path) > pathMost || !strings.HasPrefix(path, "/") {
		return false
	}
	for name := range strings.SplitSeq(path[1:], "/") {
		if name == "" || name[0] == '.' || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+~:=@,-") != "" {
			return false
		}
	}
	return true
}
