package collect

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// pathHash is FNV-1a, which can be carried on from a directory to what is in it. Two paths of one machine with the same hash
// would be a wonder.
type pathHash uint64

const (
	emptyPath pathHash = 14695981039346656037
	fnvPrime  pathHash = 1099511628211
)

func (h pathHash) add(part string) pathHash {
	for i := range len(part) {
		h = (h ^ pathHash(part[i])) * fnvPrime
	}
	return h
}

// in returns the hash of a name in the directory with this hash.
func (h pathHash) in(name string) pathHash {
	return ((h ^ '/') * fnvPrime).add(name)
}

// ownership says which package owns a path. It keeps hashes instead of paths: under emulation the memory of tens of thousands of
// strings is felt.
type ownership struct {
	merged map[string]bool // top-level directories that are links into /usr: "bin", "lib"
	owners map[pathHash]uint32
	names  []string
	number map[string]uint32
}

func newOwnership(merged map[string]bool) *ownership {
	return &ownership{merged: merged, owners: make(map[pathHash]uint32, 32<<10), number: map[string]uint32{}}
}

// hash is that of the path under which a file is found: dpkg lists /bin/sh, which is /usr/bin/sh where /bin is a link.
func (o *ownership) hash(path string) pathHash {
	if len(o.merged) > 0 {
		if end := strings.IndexByte(path[min(1, len(path)):], '/'); end > 0 && o.merged[path[1:end+1]] {
			return emptyPath.add("/usr").add(path)
		}
	}
	return emptyPath.add(path)
}

func (o *ownership) add(path, owner string) { o.note(o.hash(path), o.numberOf(owner)) }

// shared marks the number of the last of several owners.
const shared = 1 << 31

func (o *ownership) note(hash pathHash, number uint32) {
	if before, owned := o.owners[hash]; owned && before != number {
		number |= shared
	}
	o.owners[hash] = number
}

func (o *ownership) numberOf(owner string) uint32 {
	number, known := o.number[owner]
	if !known {
		number = uint32(len(o.names))
		o.names = append(o.names, owner)
		o.number[owner] = number
	}
	return number
}

// of returns the owner of a path as NAME:ARCH, "" for nobody's.
func (o *ownership) of(path string) string { return o.ofHash(o.hash(path), false) }

// ofHash is the same for a path whose hash is known. A link in the place of a directory that several packages list, as /bin is, is
// nobody's; a file that several list is one of the same package for several architectures.
func (o *ownership) ofHash(hash pathHash, isLink bool) string {
	if o == nil {
		return ""
	}
	number, known := o.owners[hash]
	if !known || isLink && number&shared != 0 {
		return ""
	}
	return o.names[number&^shared]
}

// addList notes the owner of each line of a package's file list.
func (o *ownership) addList(list []byte, owner string, moved diversions) {
	number := o.numberOf(owner)
	name, _, _ := strings.Cut(owner, ":")
	for line := range bytes.Lines(list) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) == 0 || line[0] != '/' {
			continue
		}
		path := string(line)
		if to, diverted := moved[path]; diverted && to.by != name {
			path = to.path
		}
		o.note(o.hash(path), number)
	}
}

// mergedDirs are the top-level directories that are links to those of the same name in /usr.
func (s *Source) mergedDirs() map[string]bool {
	merged := map[string]bool{}
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		target, err := s.readLink("/" + name)
		if err == nil && strings.Trim(strings.TrimPrefix(target, "/"), "/") == "usr/"+name {
			merged[name] = true
		}
	}
	return merged
}

// diversions are the paths that dpkg was told to put elsewhere, unless they are of the package that wants it so.
type diversions map[string]diversion

type diversion struct{ path, by string }

func readDiversions(src *Source) (diversions, error) {
	content, err := src.read("/var/lib/dpkg/diversions", maxDatabase)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading dpkg's diversions: %w", err)
	}
	return parseDiversions(content), nil
}

// parseDiversions reads groups of three lines: from, to, and the package that wants it, ":" for the administrator.
func parseDiversions(content []byte) diversions {
	moved := diversions{}
	lines := strings.Split(string(content), "\n")
	for ; len(lines) >= 3; lines = lines[3:] {
		moved[lines[0]] = diversion{path: lines[1], by: lines[2]}
	}
	return moved
}

// readOwners reads from the packages' file lists who owns what.
func readOwners(src *Source, db *packageDB) error {
	const info = "/var/lib/dpkg/info/"
	moved, err := readDiversions(src)
	errs := []error{err}
	for _, p := range db.installed {
		list, err := src.read(info+p.name+":"+p.arch+".list", maxDatabase)
		if errors.Is(err, fs.ErrNotExist) {
			list, err = src.read(info+p.name+".list", maxDatabase)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the file list of %s: %w", p.key(), err))
			continue
		}
		db.owners.addList(list, p.key(), moved)
	}
	return errors.Join(errs...)
}
