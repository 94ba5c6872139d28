package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// partial begins the names of files on their way into the store. Their writers hold a lock on them, so that what a killed one
// left is told from what is being written.
const partial = "part-"

// createPart makes a locked file in a directory of the store.
func createPart(dir string) (*os.File, error) {
	part, err := os.CreateTemp(dir, partial+"*")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(part.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, part.Close(), os.Remove(part.Name()))
	}
	return part, nil
}

// entry is a file of the store with its record.
type entry struct {
	name string
	size int64
	used time.Time // when it was last served: the time of its record
}

// Sweep removes from a cache directory what killed processes left half-written, and the files that nobody has asked for the
// longest, until no more than most bytes are left; 0 is the default of [Config.MaxCache]. It returns what it removed.
func Sweep(dir string, most int64) (removed []string, err error) {
	setDefault(&most, defaultMaxCache)
	var entries []entry
	var total int64
	err = filepath.WalkDir(dir, func(path string, found fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // another sweep was faster
			return nil
		case err != nil || found.IsDir():
			return err
		case strings.HasPrefix(found.Name(), partial):
			if removeDead(path) {
				removed = append(removed, path)
			}
		case !strings.HasSuffix(path, recordExt):
			if e, ok := look(path); ok {
				entries, total = append(entries, e), total+e.size
			}
		}
		return nil
	})
	if err != nil {
		return removed, fmt.Errorf("clearing up the package cache: %w", err)
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(a.used.Compare(b.used), strings.Compare(a.name, b.name)) })
	for _, e := range entries {
		if total <= most {
			break
		}
		if err := (&store{dir: dir}).remove(e.name); err != nil {
			return removed, fmt.Errorf("clearing up the package cache: %w", err)
		}
		removed, total = append(removed, e.name), total-e.size
	}
	return removed, nil
}

func look(path string) (entry, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return entry{}, false
	}
	e := entry{name: path, size: info.Size()}
	if record, err := os.Stat(path + recordExt); err == nil { // without a record it was never used
		e.used = record.ModTime()
	}
	return e, true
}

// removeDead removes a half-written file whose writer does not live.
func removeDead(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }() // and with it the lock
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && os.Remove(path) == nil
}
