package collect

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

const (
	maxText    = 64 << 10 // of a file
	maxAllText = 8 << 20
	// racy is how long a file must have been left alone before what was read of it may stand for it: a change within the same
	// tick of the kernel's clock would not be seen. Ticks are 10 ms at most; file systems are known that keep whole seconds.
	racy = 2 * time.Second
)

// ownerLabel is what the two numbers of an owner stand for.
type ownerLabel struct {
	text string
	hash pathHash
}

// tell makes a fact of a file, unless the host knows it.
func (w *fileWalk) tell(dir folder, name string, at place, i inode) {
	pkg := ""
	kind := i.mode & unix.S_IFMT
	if kind != unix.S_IFDIR {
		// Directories belong to every package that has something in them: naming one would be arbitrary.
		pkg = w.owners.ofHash(at.hash, kind == unix.S_IFLNK)
	}
	print := w.fingerprint(at, i, pkg)
	if position, known := w.wanted.Known.Find(print); known && print != 0 {
		w.seen = append(w.seen, position)
		return
	}
	f, settled := w.read(dir, name, at, i, pkg)
	if !settled {
		print = 0
	}
	w.facts = append(w.facts, f)
	w.print[protocol.CleanFact(fact.Fact{Name: at.path}).Name] = print
}

// fingerprint covers all from which the fact of a file follows. 0 says that the file is to be read in any case.
func (w *fileWalk) fingerprint(at place, i inode, pkg string) protocol.Print {
	kind := i.mode & unix.S_IFMT
	h := at.hash.mix(uint64(i.mode)).mix(uint64(w.label(i).hash))
	if kind == unix.S_IFDIR {
		return protocol.Print(h)
	}
	h = h.mix(uint64(emptyPath.add(pkg)))
	if kind == unix.S_IFREG && !at.area.reads(i) {
		return protocol.Print(h)
	}
	if !at.steady {
		return 0
	}
	h = h.mix(i.number).mix(uint64(i.changed)).mix(uint64(i.size)).mix(uint64(emptyPath.add(w.conffiles[at.hash])))
	if at.public {
		h = h.mix(1)
	}
	return protocol.Print(h)
}

// mix carries the hash on with a number, so that each of its bits moves half of the result's.
func (h pathHash) mix(number uint64) pathHash {
	x := (uint64(h) ^ number) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	return pathHash(x ^ x>>32)
}

func (w *fileWalk) label(i inode) ownerLabel {
	ids := uint64(i.uid)<<32 | uint64(i.gid)
	label, known := w.labels[ids]
	if !known {
		label.text = w.accounts.userName(i.uid) + ":" + w.accounts.groupName(i.gid)
		label.hash = emptyPath.add(label.text)
		w.labels[ids] = label
	}
	return label
}

// read makes the whole fact. settled says whether it stands for the file until a print says otherwise.
func (w *fileWalk) read(dir folder, name string, at place, i inode, pkg string) (f fact.Fact, settled bool) {
	attributes := map[string]string{
		"type": "other", "owner": w.label(i).text, "mode": fmt.Sprintf("%04o", i.mode&0o7777), "package": pkg,
	}
	f = fact.Fact{Kind: fact.KindFile, Name: at.path, Attributes: attributes}
	settled = !needsCleaning(at.path) && time.Duration(w.wanted.Now().UnixNano()-i.changed) > racy
	switch i.mode & unix.S_IFMT {
	case unix.S_IFDIR:
		attributes["type"] = "dir"
		return f, !needsCleaning(at.path)
	case unix.S_IFLNK:
		attributes["type"] = "link"
		delete(attributes, "mode") // of a link it means nothing
		target, err := dir.target(name)
		w.note(err)
		attributes["target"] = target
		settled = settled && err == nil
	case unix.S_IFREG:
		attributes["type"] = "file"
		if !at.area.reads(i) {
			return f, !needsCleaning(at.path)
		}
		attributes["size"] = strconv.FormatInt(i.size, 10)
		settled = w.content(dir, name, at, i, attributes) && settled
	}
	return f, settled
}

// needsCleaning recognises the names that are not told as they are, and those that a cleaned one could be taken for.
func needsCleaning(path string) bool {
	return strings.IndexByte(path, '\\') >= 0 || protocol.Clean(path) != path || len(path) > protocol.MaxName
}

// content adds what a file holds: its digest, what it may do, and its text where every user may read that anyway. It tells whether
// the file stood still meanwhile.
func (w *fileWalk) content(dir folder, name string, at place, i inode, attributes map[string]string) bool {
	shipped := w.conffiles[at.hash]
	attributes["conffile"] = shipped
	room := 0
	if at.public && i.mode&0o004 != 0 && i.size <= maxText && strings.HasPrefix(at.path, "/etc/") {
		room = maxText
	}
	c := newContent(room, shipped != "")
	before, after, err := dir.read(name, c.add)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			w.note(&fs.PathError{Op: "read", Path: at.path, Err: err})
		}
		return false
	}
	attributes["size"] = strconv.FormatInt(c.size, 10)
	attributes["sha256"] = c.digest()
	if shipped != "" {
		attributes["edited"] = strconv.FormatBool(!c.isShipped(shipped))
	}
	if i.mode&0o111 != 0 {
		attributes["caps"] = capabilities(dir.extended(name, "security.capability"))
	}
	settled := before == i && after == i
	if room > 0 && isText(c.text) && !holdsHashes(at.path) && !holdsKey(c.text) {
		if w.texts+len(c.text) > maxAllText {
			w.note(fmt.Errorf("reading %s: %w: more than %d bytes of text", at.path, errTooBig, maxAllText))
			return false
		}
		w.texts += len(c.text)
		attributes["text"] = string(c.text)
	}
	return settled
}

func isText(content []byte) bool {
	return bytes.IndexByte(content, 0) < 0 && utf8.Valid(content)
}

// holdsHashes recognises the files that are nothing but password hashes, and the copies that the tools make of them: by
// mistake they may be readable for all.
func holdsHashes(name string) bool {
	return path.Dir(name) == "/etc" && (strings.HasPrefix(name, "/etc/shadow") || strings.HasPrefix(name, "/etc/gshadow"))
}

// holdsKey recognises a private key, which somebody left readable for all: it must not travel into a report.
func holdsKey(content []byte) bool { return bytes.Contains(content, []byte("PRIVATE KEY")) }
