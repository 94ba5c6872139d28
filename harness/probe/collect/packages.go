package collect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
)

// packageDB is the database of dpkg, of rpm or of both: what is installed, and who owns which file.
type packageDB struct {
	installed []installedPackage
	owners    *ownership
	conffiles map[string]string // path: the digest that the package shipped, MD5 of dpkg, SHA-256 of rpm
}

type installedPackage struct {
	name, arch, version, status string
	manager                     string // "" is dpkg
	held, auto                  bool
}

func (p installedPackage) key() string { return p.name + ":" + p.arch }

// packages reads what dpkg has installed, without running it, and what rpm has.
func packages(ctx context.Context, src *Source) ([]fact.Fact, error) {
	db, err := src.packages(ctx)
	if db == nil {
		return nil, err
	}
	facts := make([]fact.Fact, 0, len(db.installed))
	for _, p := range db.installed {
		attributes := map[string]string{"version": p.version, "status": p.status}
		if p.auto {
			attributes["auto"] = "true"
		}
		if p.held {
			attributes["held"] = "true"
		}
		if p.manager != "" {
			attributes["manager"] = p.manager
		}
		facts = append(facts, fact.Fact{Kind: fact.KindPackage, Name: p.key(), Attributes: attributes})
	}
	return facts, err
}

func newPackageDB(src *Source) *packageDB {
	return &packageDB{owners: newOwnership(src.mergedDirs()), conffiles: map[string]string{}}
}

func readPackages(ctx context.Context, src *Source) (*packageDB, error) {
	db := newPackageDB(src)
	err := readDpkg(src, db)
	if err != nil && len(db.installed) == 0 {
		if !errors.Is(err, fs.ErrNotExist) || !src.hasRPM() {
			return nil, err
		}
		err = nil // a guest with rpm alone
	}
	return db, errors.Join(err, readRPM(ctx, src, db))
}

func readDpkg(src *Source, db *packageDB) error {
	status, err := src.read("/var/lib/dpkg/status", maxDatabase)
	if err != nil {
		return fmt.Errorf("reading dpkg's status: %w", err)
	}
	db.installed, db.conffiles = parseStatus(status)
	marked, err := src.read("/var/lib/apt/extended_states", maxDatabase)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading apt's marks: %w", err)
	}
	auto := parseExtendedStates(marked)
	for i := range db.installed {
		p := &db.installed[i]
		// An "all" package is marked under the native architecture, which APT writes for it.
		p.auto = auto[p.key()] || p.arch == "all" && auto[p.name]
	}
	return readOwners(src, db)
}

// parseStatus reads the packages whose files are on the disk: neither unknown ones nor those of which only configuration is
// left.
func parseStatus(status []byte) (installed []installedPackage, conffiles map[string]string) {
	conffiles = map[string]string{}
	for paragraph := range paragraphs(status) {
		var p installedPackage
		var shipped []conffile
		var inConffiles bool
		for line := range bytes.Lines(paragraph) {
			line = bytes.TrimRight(line, "\n")
			if len(line) > 0 && line[0] == ' ' {
				if c, ok := parseConffile(string(line)); inConffiles && ok {
					shipped = append(shipped, c)
				}
				continue
			}
			key, value, _ := bytes.Cut(line, []byte(":"))
			inConffiles = string(key) == "Conffiles"
			switch string(key) {
			case "Package":
				p.name = field(value)
			case "Architecture":
				p.arch = field(value)
			case "Version":
				p.version = field(value)
			case "Status":
				if w := strings.Fields(string(value)); len(w) == 3 {
					p.held, p.status = w[0] == "hold", w[2]
				}
			}
		}
		if p.name == "" || p.status == "" || p.status == "not-installed" || p.status == "config-files" {
			continue
		}
		installed = append(installed, p)
		for _, c := range shipped {
			conffiles[c.path] = c.digest
		}
	}
	return installed, conffiles
}

func field(value []byte) string { return string(bytes.TrimSpace(value)) }

// paragraphs yields the paragraphs of a file in Debian's control format.
func paragraphs(data []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(data) > 0 {
			paragraph, rest, _ := bytes.Cut(data, []byte("\n\n"))
			if len(paragraph) > 0 && !yield(paragraph) {
				return
			}
			data = rest
		}
	}
}

type conffile struct{ path, digest string }

// parseConffile reads a line of a Conffiles field: a path, its MD5 sum, and perhaps "obsolete" or "remove-on-upgrade", with
// which the package no longer ships it.
func parseConffile(line string) (conffile, bool) {
	words := strings.Fields(line)
	if len(words) != 2 || len(words[1]) != 32 {
		return conffile{}, false
	}
	return conffile{words[0], words[1]}, true
}

// parseExtendedStates returns the packages that APT marked as automatically installed, by NAME:ARCH and by NAME.
func parseExtendedStates(data []byte) map[string]bool {
	auto := map[string]bool{}
	for paragraph := range paragraphs(data) {
		var name, arch, mark string
		for line := range bytes.Lines(paragraph) {
			key, value, _ := bytes.Cut(line, []byte(":"))
			switch string(key) {
			case "Package":
				name = field(value)
			case "Architecture":
				arch = field(value)
			case "Auto-Installed":
				mark = field(value)
			}
		}
		if name != "" && mark == "1" {
			auto[name+":"+arch], auto[name] = true, true
		}
	}
	return auto
}
