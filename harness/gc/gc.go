// Package gc takes away what runs left behind that ended without cleaning up: kill -9, a power cut, a full disk.
//
// It takes only what it can lock: a live run holds the lock on its directory. Evidence stays.
package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/secret"
)

// Options say where to look.
type Options struct {
	Drivers []hypervisor.Driver
	RunsDir string // holds the run directories; it need not exist
	// Kept also takes guests that a run was asked to keep.
	Kept bool
}

// Swept is what was taken away, each list sorted.
type Swept struct {
	Domains []string `json:"domains"`
	Files   []string `json:"files"` // overlays, half-written files, keys to guests that are gone
}

// Empty tells whether there was nothing to do.
func (s *Swept) Empty() bool { return len(s.Domains) == 0 && len(s.Files) == 0 }

// orphan is a domain together with the driver that knows it.
type orphan struct {
	driver hypervisor.Driver
	hypervisor.Owned
}

// Sweep removes domains, overlays and half-written files of dead runs. What cannot be removed does not keep it from the
// rest; the errors are joined, and Swept tells what was removed in any case. While a driver does not answer it removes
// nothing: a domain that is not known may be using the disk.
func Sweep(ctx context.Context, opts Options) (Swept, error) {
	swept := Swept{Domains: []string{}, Files: []string{}} // empty lists, not null, for those who read JSON
	byDir := map[string][]orphan{}
	for _, driver := range opts.Drivers {
		owned, err := driver.Domains(ctx)
		if err != nil {
			return swept, fmt.Errorf("looking for domains of dead runs: %w", err)
		}
		for _, o := range owned {
			byDir[o.RunDir] = append(byDir[o.RunDir], orphan{driver, o})
		}
	}
	dirs, err := runDirs(opts.RunsDir)
	if err != nil {
		return swept, err
	}
	for dir := range byDir {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	var failures []error
	for _, dir := range slices.Compact(dirs) {
		if ctx.Err() != nil {
			failures = append(failures, fmt.Errorf("removing what dead runs left: %w", context.Cause(ctx)))
			break
		}
		if err := swept.sweepRun(ctx, dir, byDir[dir], opts.Kept); err != nil {
			failures = append(failures, err)
		}
	}
	slices.Sort(swept.Domains)
	slices.Sort(swept.Files)
	return swept, errors.Join(failures...)
}

// runDirs lists the directories that runs have made.
func runDirs(parent string) ([]string, error) {
	if parent == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for dead runs: %w", err)
	}
	var dirs []string
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			dirs = append(dirs, filepath.Join(parent, entry.Name()))
		}
	}
	return dirs, nil
}

// sweepRun cleans up after one run, unless it lives or was kept. The lock is held meanwhile: two sweeps do not meet.
func (s *Swept) sweepRun(ctx context.Context, dir string, orphans []orphan, kept bool) (err error) {
	lock, err := rundir.Lock(dir)
	switch {
	case errors.Is(err, rundir.ErrLocked):
		return nil
	case errors.Is(err, fs.ErrNotExist): // the evidence was thrown away: nobody can miss the rest
		return s.undefine(ctx, orphans)
	case err != nil:
		return fmt.Errorf("looking whether the run in %s lives: %w", dir, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if lock.Has(rundir.Kept) && !kept {
		return nil
	}
	if err := s.undefine(ctx, orphans); err != nil {
		return err // the rest belongs to a domain that is still there
	}
	before := len(s.Files)
	if err := s.removeFiles(lock); err != nil {
		return err
	}
	if len(orphans) == 0 && len(s.Files) == before || lock.Has(rundir.Result) {
		return nil
	}
	// The run was killed before it could do this itself.
	return secret.NewHider().HideBelow(dir, rundir.Facts, rundir.HelperFacts, rundir.Handoffs)
}

func (s *Swept) undefine(ctx context.Context, orphans []orphan) error {
	var failures []error
	for _, o := range orphans {
		domain, err := o.driver.Lookup(ctx, o.Name)
		if errors.Is(err, hypervisor.ErrNotFound) {
			continue // its run was still cleaning up
		}
		if err == nil {
			err = domain.Undefine(ctx)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("removing domain %s of the dead run %s: %w", o.Name, o.RunID, err))
			continue
		}
		s.Domains = append(s.Domains, o.Name)
	}
	return errors.Join(failures...)
}

// removeFiles removes what is no evidence.
func (s *Swept) removeFiles(dir *rundir.Dir) error {
	leftovers := []string{dir.File(rundir.Kept), dir.File(rundir.Key)}
	// Half-written files, see [rundir.Dir.Write], what belongs to clones that the driver did not come to know, and sockets by which
	// a guest was being saved or going on, and its checkpoints: directories after what is in them.
	for _, pattern := range []string{
		"*.new", "*/*.new", "*" + rundir.DiskExt, "*" + rundir.VariablesExt, "*" + rundir.SeedExt, "*" + rundir.InitrdExt, rundir.HandPackages + "/*/*",
		rundir.Moves + "*/*", rundir.Moves + "*",
		rundir.Checkpoints + "/*/*", rundir.Checkpoints + "/*", rundir.Checkpoints,
	} {
		found, err := filepath.Glob(filepath.Join(escapeGlob(dir.Path), pattern))
		if err != nil {
			return fmt.Errorf("looking for what a dead run left in %s: %w", dir.Path, err)
		}
		leftovers = append(leftovers, found...)
	}
	var failures []error
	for _, path := range leftovers {
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("removing what a dead run left: %w", err))
			continue
		}
		s.Files = append(s.Files, path)
	}
	return errors.Join(failures...)
}

// escapeGlob takes the meaning from a path's signs of patterns.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
