package mirror

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// source is one line of an APT source: one base and one suite.
type source struct {
	uri        string
	suite      string
	components []string
	signedBy   string
}

const maxSourceFile = 1 << 20 // bytes; real ones have a few hundred

// sources reads what APT reads: sources.list and then sources.list.d, in APT's order. Missing files are fine.
func (f Finder) sources() ([]source, error) {
	names := []string{"etc/apt/sources.list"}
	entries, err := fs.ReadDir(f.Root, "etc/apt/sources.list.d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries { // sorted by name
		if extension := path.Ext(entry.Name()); extension == ".list" || extension == ".sources" {
			names = append(names, path.Join("etc/apt/sources.list.d", entry.Name()))
		}
	}
	var all []source
	for _, name := range names {
		text, err := f.read(name)
		if err != nil {
			return nil, err
		}
		found := parseOneLine(text)
		if path.Ext(name) == ".sources" {
			found = parseDeb822(text)
		}
		all = append(all, found...)
	}
	return f.followLists(all), nil
}

func (f Finder) read(name string) (string, error) {
	text, err := fs.ReadFile(f.Root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text[:min(len(text), maxSourceFile)]), err
}

// followLists replaces "mirror+file:/etc/apt/mirrors/x.list", which Debian's cloud images use, by the first entry of
// that file.
func (f Finder) followLists(sources []source) []source {
	for i, s := range sources {
		rest, ok := strings.CutPrefix(s.uri, "mirror+file:")
		if !ok {
			continue
		}
		text, err := f.read(strings.TrimLeft(rest, "/"))
		if err != nil {
			continue // unreadable for this user: as if it named none
		}
		for line := range strings.Lines(text) {
			if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
				sources[i].uri = fields[0]
				break
			}
		}
	}
	return sources
}

// parseOneLine reads "deb [option=value ...] URI SUITE COMPONENT...". A line that is something else is skipped: whether
// the host's files are right is APT's business.
func parseOneLine(text string) []source {
	var found []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || rest == "" || !strings.ContainsAny(rest[:1], " \t[") {
			continue
		}
		options := ""
		if rest = strings.TrimSpace(rest); strings.HasPrefix(rest, "[") {
			options, rest, ok = strings.Cut(rest[1:], "]")
			if !ok {
				continue
			}
		}
		fields := strings.Fields(rest)
		if len(fields) < 3 {
			continue
		}
		found = append(found, source{
			uri: fields[0], suite: strings.TrimSuffix(fields[1], "/"), components: fields[2:], signedBy: option(options, "signed-by"),
		})
	}
	return found
}

func option(options, name string) string {
	for field := range strings.FieldsSeq(options) {
		if key, value, ok := strings.Cut(field, "="); ok && strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

// parseDeb822 reads the stanzas of a .sources file.
func parseDeb822(text string) []source {
	var found []source
	for stanza := range stanzas(text) {
		if !slices.Contains(strings.Fields(stanza["types"]), "deb") || isFalse(stanza["enabled"]) {
			continue
		}
		for uri := range strings.FieldsSeq(stanza["uris"]) {
			for suite := range strings.FieldsSeq(stanza["suites"]) {
				found = append(found, source{
					uri: uri, suite: strings.TrimSuffix(suite, "/"),
					components: strings.Fields(stanza["components"]), signedBy: stanza["signed-by"],
				})
			}
		}
	}
	return found
}

// stanzas yields each stanza's fields, names in lower case, continuation lines joined by a space.
func stanzas(text string) func(yield func(map[string]string) bool) {
	return func(yield func(map[string]string) bool) {
		stanza, last := map[string]string{}, ""
		for line := range strings.Lines(text + "\n\n") {
			line = strings.TrimRight(line, " \t\r\n")
			name, value, isField := strings.Cut(line, ":")
			switch {
			case strings.HasPrefix(line, "#"):
			case line == "":
				if len(stanza) > 0 && !yield(stanza) {
					return
				}
				stanza, last = map[string]string{}, ""
			case line[0] == ' ' || line[0] == '\t':
				stanza[last] += " " + strings.TrimSpace(line)
			case isField:
				last = strings.ToLower(strings.TrimSpace(name))
				stanza[last] = strings.TrimSpace(value)
			}
		}
	}
}

func isFalse(value string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(value))
}
