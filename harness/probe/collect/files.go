package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

const (
	maxFiles     = 150_000
	maxEntries   = 20_000 // of one directory
	maxFileDepth = 64
)

// FilesWanted says which files are read.
type FilesWanted struct {
	// OnlyEtc leaves out all but what is below /etc.
	OnlyEtc bool
	// Known is what the host knows already.
	Known protocol.Index
	// Now is the clock of the file system's times.
	Now func() time.Time
}

// files reads the files of the system: the root file system, and the other ones of its disks that belong to the system.
func files(ctx context.Context, src *Source) ([]fact.Fact, error) {
	root := src.disk
	if root == nil {
		var err error
		if root, err = openRoot(src); err != nil {
			return nil, err
		}
	}
	w := newFileWalk(ctx, src, src.wanted)
	w.all(ctx, root)
	if !src.wanted.OnlyEtc {
		src.walked = w
	}
	return w.facts, errors.Join(w.errs...)
}

// fileWalk is one reading of all files.
type fileWalk struct {
	wanted    FilesWanted
	accounts  *accountDB
	owners    *ownership
	conffiles map[pathHash]string
	mounts    map[string]mount
	labels    map[uint64]ownerLabel

	facts []fact.Fact
	seen  []int                     // positions of the index
	print map[string]protocol.Print // of the facts, by their names
	texts int                       // bytes of text so far
	full  bool                      // the unit that is being read has too many files
	errs  []error
}

func newFileWalk(ctx context.Context, src *Source, wanted FilesWanted) *fileWalk {
	w := &fileWalk{
		wanted: wanted, conffiles: map[pathHash]string{}, labels: map[uint64]ownerLabel{}, print: map[string]protocol.Print{},
		mounts: map[string]mount{},
	}
	if w.wanted.Now == nil {
		w.wanted.Now = time.Now
	}
	accounts, err := src.accounts()
	w.note(err)
	w.accounts = accounts
	if db, _ := src.packages(ctx); db != nil { // its error is a note about packages already
		w.owners = db.owners
		for p, digest := range db.conffiles {
			w.conffiles[db.owners.hash(p)] = digest
		}
	}
	for _, m := range readMounts(src) {
		w.mounts[m.point] = m // the last one hides the others
	}
	return w
}

func (w *fileWalk) note(err error) {
	const most = 10 // of a thousand equal troubles ten are enough to see what is the matter
	if err != nil && len(w.errs) < most {
		w.errs = append(w.errs, err)
	}
}

// place is where the walk is.
type place struct {
	path   string
	hash   pathHash
	area   area
	public bool // every user may pass through it and those above it
	steady bool // the times of its file system are to be trusted
	depth  int
}

// all reads the system's directories, those first of which more depends. What has too many files is left out as a whole and noted:
// a part of it would be another one at the next reading.
func (w *fileWalk) all(ctx context.Context, root folder) {
	defer root.close()
	top := place{hash: emptyPath, public: true, steady: true}
	if m, known := w.mounts["/"]; known {
		top.steady = trustsTimes(m.fstype)
	}
	if w.wanted.OnlyEtc {
		if etc, err := root.enter("etc"); err == nil {
			w.unit(ctx, etc, top.in("etc"))
		} else {
			w.note(&fs.PathError{Op: "open", Path: "/etc", Err: err})
		}
		return
	}
	if self, err := root.stat("."); err == nil {
		w.tell(root, ".", place{path: "/", hash: emptyPath.add("/"), public: true, steady: top.steady}, self)
	}
	w.units(ctx, root, top)
}

// units reads a directory each of whose entries may have too many files for itself.
func (w *fileWalk) units(ctx context.Context, dir folder, at place) {
	names, err := dir.names(maxEntries)
	if err != nil {
		w.note(fmt.Errorf("reading %s: %w", at.path+"/", err))
		return
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := rank(at.path+"/"+a) - rank(at.path+"/"+b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		if child := at.in(name); child.path == "/usr" || child.path == "/var" {
			w.entry(ctx, dir, name, at, w.units)
		} else {
			w.entry(ctx, dir, name, at, w.unit)
		}
	}
}

// rank orders what is read: first what a boot and a login depend on, last what may be endless.
func rank(path string) int {
	switch path {
	case "/etc", "/boot":
		return 0
	case "/usr", "/root", "/opt":
		return 1
	case "/usr/share", "/usr/src", "/var", "/home", "/srv", "/mnt", "/media", "/tmp":
		return 3
	}
	return 2
}

// unit reads a directory with all that is below it, or leaves it out.
func (w *fileWalk) unit(ctx context.Context, dir folder, at place) {
	facts, seen := len(w.facts), len(w.seen)
	w.directory(ctx, dir, at)
	if w.full {
		w.note(fmt.Errorf("reading %s: %w: more than %d files in all, so that those below it are left out", at.path, errTooBig, maxFiles))
		w.facts, w.seen, w.full = w.facts[:facts], w.seen[:seen], false
	}
}

func (w *fileWalk) directory(ctx context.Context, dir folder, at place) {
	names, err := dir.names(maxEntries)
	if err != nil {
		w.note(fmt.Errorf("reading %s: %w", at.path, err))
		return
	}
	if at.depth > maxFileDepth {
		if len(names) > 0 {
			w.note(fmt.Errorf("reading %s: %w: more than %d levels", at.path, errTooBig, maxFileDepth))
		}
		return
	}
	for _, name := range names {
		if ctx.Err() != nil || w.full {
			return
		}
		w.entry(ctx, dir, name, at, w.directory)
	}
}

// in returns the place of an entry.
func (p place) in(name string) place {
	p.path, p.hash, p.depth = p.path+"/"+name, p.hash.in(name), p.depth+1
	return p
}

// entry reads one file, and has a directory read.
func (w *fileWalk) entry(ctx context.Context, dir folder, name string, at place, below func(context.Context, folder, place)) {
	if len(w.facts)+len(w.seen) >= maxFiles {
		w.full = true
		return
	}
	child := at.in(name)
	if _, mounted := w.mounts[child.path]; mounted {
		w.mounted(ctx, dir, name, child, below)
		return
	}
	i, err := dir.stat(name)
	if err != nil {
		w.missing("lstat", child.path, err)
		return
	}
	w.tell(dir, name, child, i)
	if i.mode&unix.S_IFMT == unix.S_IFDIR {
		w.enter(ctx, dir, name, child, i, below)
	}
}

func (w *fileWalk) enter(ctx context.Context, dir folder, name string, at place, i inode, below func(context.Context, folder, place)) {
	if a, begins := areas[at.path]; begins {
		at.area = a
	}
	if at.area == areaForeign {
		return
	}
	inner, err := dir.enter(name)
	if err != nil {
		w.missing("open", at.path, err)
		return
	}
	defer inner.close()
	at.public = at.public && i.mode&0o001 != 0
	below(ctx, inner, at)
}

// mounted reads a directory on which a file system is mounted: only one of a disk that belongs to the system, and no second time
// what is mounted elsewhere as well. Of the others the mount is a fact of its own.
func (w *fileWalk) mounted(ctx context.Context, dir folder, name string, at place, below func(context.Context, folder, place)) {
	m := w.mounts[at.path]
	if !isLocal(m.fstype) || !belongsToSystem(at.path) || w.isElsewhere(m) {
		return
	}
	i, err := dir.stat(name)
	if err != nil || i.mode&unix.S_IFMT != unix.S_IFDIR {
		return // a file that is mounted over another
	}
	at.steady = trustsTimes(m.fstype)
	w.tell(dir, name, at, i)
	w.enter(ctx, dir, name, at, i, below)
}

// isElsewhere tells whether what a mount shows is seen at another mount point, as it is with bind mounts.
func (w *fileWalk) isElsewhere(m mount) bool {
	for _, other := range w.mounts {
		if other.device != m.device || other.point == m.point || other.point != "/" && !belongsToSystem(other.point) {
			continue
		}
		if other.root == m.root && (len(other.point) < len(m.point) || len(other.point) == len(m.point) && other.point < m.point) {
			return true
		}
		if other.root != m.root && (other.root == "/" || strings.HasPrefix(m.root, other.root+"/")) {
			return true
		}
	}
	return false
}

func (w *fileWalk) missing(op, path string, err error) {
	if !errors.Is(err, fs.ErrNotExist) { // gone since the directory was read
		w.note(&fs.PathError{Op: op, Path: path, Err: err})
	}
}

// answer tells what was found beside the facts of a document.
func (w *fileWalk) answer(facts fact.Set) *protocol.Files {
	answer := &protocol.Files{}
	if w.wanted.Known.Len() > 0 {
		answer.Seen = protocol.NewSeen(w.wanted.Known)
		for _, position := range w.seen {
			protocol.SetSeen(answer.Seen, position)
		}
	}
	for _, f := range facts.All() {
		if f.Kind == fact.KindFile {
			answer.AddPrint(w.print[f.Name])
		}
	}
	return answer
}
