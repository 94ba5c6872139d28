// Package mirror finds the Debian package mirror that the host itself uses, so that no mirror is named in patchlab, and
// holds the alias under which guests know it.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
)

// The names under which a guest sees its mirrors. The top level domain "invalid" never resolves (RFC 2606): only the
// host-side proxy can serve them, and neither an image nor evidence tells which mirror is behind.
const (
	AliasHost     = "debian.patchlab.invalid"
	AliasMain     = "http://" + AliasHost + "/debian"
	AliasSecurity = "http://" + AliasHost + "/debian-security"
)

// Variable is the environment variable that overrides what the host's APT configuration says: one URL, or two
// separated by a space, the second one for the security archive.
const Variable = "PATCHLAB_MIRROR"

// ErrNone is wrapped when the host's APT configuration names no Debian mirror.
var ErrNone = errors.New("no Debian mirror known")

// Mirror is where packages come from: base URLs without a trailing slash, below which dists/ and pool/ lie.
type Mirror struct {
	Main     string
	Security string // "" when the host knows none
}

// Hide replaces both mirrors by their aliases in a text that somebody else may come to read.
func (m Mirror) Hide(text string) string {
	for _, known := range []struct{ base, alias string }{{m.Security, AliasSecurity}, {m.Main, AliasMain}} {
		if known.base == "" {
			continue
		}
		text = strings.ReplaceAll(text, known.base, known.alias)
		if u, err := url.Parse(known.base); err == nil && u.Host != "" {
			text = strings.ReplaceAll(text, u.Host, AliasHost)
			text = strings.ReplaceAll(text, u.Hostname(), AliasHost)
		}
	}
	return text
}

// Finder looks for the mirror in one host's configuration.
type Finder struct {
	Root   fs.FS // the host's root directory
	Getenv func(string) string
}

// Find returns the mirror of this host, see [Finder.Find].
func Find(ctx context.Context) (Mirror, error) {
	return Finder{Root: os.DirFS("/"), Getenv: os.Getenv}.Find(ctx)
}

// Find returns the mirror named by [Variable], else that of the host's APT sources. A host that is no Debian has none.
func (f Finder) Find(ctx context.Context) (Mirror, error) {
	if err := ctx.Err(); err != nil {
		return Mirror{}, err
	}
	if value := f.Getenv(Variable); value != "" {
		return fromVariable(value)
	}
	sources, err := f.sources()
	if err != nil {
		return Mirror{}, fmt.Errorf("reading the host's APT sources: %w", err)
	}
	found := Mirror{
		Main:     best(sources, func(s source) bool { return isRelease(s.suite) }),
		Security: best(sources, func(s source) bool { return isSecurity(s.suite) }),
	}
	if found.Main == "" {
		return Mirror{}, fmt.Errorf("%w: /etc/apt has no http(s) source of Debian's archive; "+
			"set %s=http://HOST/debian (and after a space the security archive's URL)", ErrNone, Variable)
	}
	return found, nil
}

func fromVariable(value string) (Mirror, error) {
	var bases []string
	for field := range strings.FieldsSeq(value) {
		base, ok := cleanBase(field)
		if !ok {
			return Mirror{}, fmt.Errorf("%s: %q is not an http(s) URL", Variable, field)
		}
		bases = append(bases, base)
	}
	switch len(bases) {
	case 1:
		return Mirror{Main: bases[0]}, nil
	case 2:
		return Mirror{Main: bases[0], Security: bases[1]}, nil
	default:
		return Mirror{}, fmt.Errorf("%s: want one URL or two, not %d", Variable, len(bases))
	}
}

func cleanBase(text string) (string, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", false
	}
	u.RawQuery, u.Fragment = "", ""
	return strings.TrimRight(u.String(), "/"), true
}

// best returns the most trustworthy source among those that match: third parties use Debian's suite names too.
func best(sources []source, match func(source) bool) string {
	chosen, highest := "", 0
	for _, s := range sources {
		base, ok := cleanBase(s.uri)
		if !ok || !match(s) || !slices.Contains(s.components, "main") {
			continue
		}
		// The first of equals wins, as in APT.
		if score := trust(s, base); score > highest {
			chosen, highest = base, score
		}
	}
	return chosen
}

// trust is 0 for a source that does not look like Debian's own archive.
func trust(s source, base string) int {
	const keyring = "debian-archive-"
	switch signedByDebian := strings.Contains(s.signedBy, keyring); {
	case signedByDebian:
		return 3
	case s.signedBy != "":
		return 0
	}
	switch path.Base(base) {
	case "debian", "debian-security":
		// Docker and others serve /linux/debian.
		if path.Base(path.Dir(base)) != "linux" {
			return 2
		}
		return 0
	default:
		return 1
	}
}

var codenames = []string{
	"buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid",
	"oldoldstable", "oldstable", "stable", "testing", "unstable",
}

func isRelease(suite string) bool { return slices.Contains(codenames, suite) }

func isSecurity(suite string) bool {
	release, pocket, _ := strings.Cut(strings.ReplaceAll(suite, "/", "-"), "-")
	// Before bullseye the suite was called buster/updates.
	return isRelease(release) && (pocket == "security" || strings.HasSuffix(suite, "/updates"))
}
