package collect

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // dpkg's digests of conffiles are MD5; this compares, it does not protect.
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/fact"
)

const (
	maxHashed    = 16 << 20 // a second and a half of SHA-256 under emulation
	maxText      = 64 << 10
	maxAllText   = 8 << 20
	maxFiles     = 50_000
	maxFileDepth = 32
)

// files reads what is below /etc.
func files(ctx context.Context, src *Source) ([]fact.Fact, error) {
	w := fileWalk{src: src, db: &packageDB{}}
	accounts, err := src.accounts()
	w.note(err)
	w.accounts = accounts
	if db, _ := src.packages(ctx); db != nil { // its error is a note about packages already
		w.db = db
	}
	w.directory(ctx, "/etc", true, 0)
	return w.facts, errors.Join(w.errs...)
}

type fileWalk struct {
	src      *Source
	accounts *accountDB
	db       *packageDB
	facts    []fact.Fact
	texts    int // bytes of text so far
	full     bool
	errs     []error
}

func (w *fileWalk) note(err error) {
	const most = 10 // of a thousand equal troubles ten are enough to see what is the matter
	if err != nil && len(w.errs) < most {
		w.errs = append(w.errs, err)
	}
}

// directory reads the entries of a directory. public says whether every user may pass through it and those above it.
func (w *fileWalk) directory(ctx context.Context, path string, public bool, depth int) {
	entries, err := w.src.readDir(path)
	if err != nil {
		w.note(err)
		return
	}
	for _, entry := range entries {
		switch {
		case ctx.Err() != nil || w.full:
			return
		case len(w.facts) >= maxFiles || depth > maxFileDepth:
			w.note(fmt.Errorf("reading %s: %w: more than %d files or %d levels", path, errTooBig, maxFiles, maxFileDepth))
			w.full = true
			return
		}
		w.entry(ctx, path+"/"+entry.Name(), public, depth)
	}
}

func (w *fileWalk) entry(ctx context.Context, path string, public bool, depth int) {
	var stat unix.Stat_t
	if err := unix.Lstat(w.src.path(path), &stat); err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // gone since the directory was read
			w.note(&fs.PathError{Op: "lstat", Path: path, Err: err})
		}
		return
	}
	attributes := map[string]string{
		"type":  "other",
		"owner": w.accounts.userName(stat.Uid) + ":" + w.accounts.groupName(stat.Gid),
		"mode":  fmt.Sprintf("%04o", stat.Mode&0o7777),
	}
	w.facts = append(w.facts, fact.Fact{Kind: fact.KindFile, Name: path, Attributes: attributes})
	kind := stat.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR {
		// Directories belong to every package that has something in them: naming one would be arbitrary.
		attributes["package"] = w.db.owners[path]
	}
	switch kind {
	case unix.S_IFDIR:
		attributes["type"] = "dir"
		w.directory(ctx, path, public && stat.Mode&0o001 != 0, depth+1)
	case unix.S_IFLNK:
		attributes["type"] = "link"
		delete(attributes, "mode") // of a link it means nothing
		target, err := w.src.readLink(path)
		w.note(err)
		attributes["target"] = target
	case unix.S_IFREG:
		attributes["type"] = "file"
		attributes["size"] = strconv.FormatInt(stat.Size, 10)
		w.content(path, attributes, stat, public && stat.Mode&0o004 != 0)
	}
}

// content adds what a file holds: its digests, and its text where every user may read that anyway.
func (w *fileWalk) content(path string, attributes map[string]string, stat unix.Stat_t, public bool) {
	shipped := w.db.conffiles[path]
	attributes["conffile"] = shipped
	if stat.Size > maxHashed {
		return
	}
	content, err := w.src.readNoFollow(path, maxHashed)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			w.note(err)
		}
		return
	}
	digest := sha256.Sum256(content)
	attributes["sha256"] = hex.EncodeToString(digest[:])
	if shipped != "" {
		attributes["edited"] = strconv.FormatBool(!isShipped(content, shipped))
	}
	if public && len(content) <= maxText && w.texts+len(content) <= maxAllText && isText(content) && !holdsHashes(path) && !holdsKey(content) {
		w.texts += len(content)
		attributes["text"] = string(content)
	}
}

// isShipped compares a content with the digest that its package gave it: the length tells which.
func isShipped(content []byte, shipped string) bool {
	if len(shipped) == hex.EncodedLen(sha256.Size) {
		sum := sha256.Sum256(content)
		return hex.EncodeToString(sum[:]) == shipped
	}
	sum := md5.Sum(content) //nolint:gosec // as above
	return hex.EncodeToString(sum[:]) == shipped
}

func isText(content []byte) bool {
	return bytes.IndexByte(content, 0) < 0 && utf8.Valid(content)
}

// holdsHashes recognises the files that are nothing but password hashes, and the copies that the tools make of them: by
// mistake they may be readable for all.
func holdsHashes(path string) bool {
	return strings.HasPrefix(path, "/etc/shadow") || strings.HasPrefix(path, "/etc/gshadow")
}

// holdsKey recognises a private key, which somebody left readable for all: it must not travel into a report.
func holdsKey(content []byte) bool { return bytes.Contains(content, []byte("PRIVATE KEY")) }
