package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/wait"
)

// baselineSchema changes when what is cached changes its meaning. 3: secrets are hidden, and the file has a digest. 4: clones have
// a generation id, and firmware that calls them by the same UUID. 5: all files of the system are facts. 6: the
// stages of the control boot are timed. 7: the lab's own key is left out. 8: what the next boot depends on is read.
const baselineSchema = 8

// known is what is known of an image without any patch: paid once per image and kept.
type known struct {
	Schema   int      `json:"schema"`
	Baseline fact.Set `json:"baseline"`
	Second   fact.Set `json:"second"`  // the same guest, read again a little later
	Control  fact.Set `json:"control"` // after an unpatched reboot
	// Boot is what the next boot depends on, read before the control reboot.
	Boot fact.Set `json:"boot"`
	// BootSeconds is how long the control reboot took, from the request until it settled.
	BootSeconds float64 `json:"boot_seconds"`
	// Stages are the seconds that the control boot spent in each stage that its console shows.
	Stages boot.Times `json:"stages"`
	// Reach is how the guest was to be reached, as it says itself.
	Reach reach `json:"reach"`
}

// readKnown reads a file of the cache: the digest of the rest in the first line, then JSON. A damaged one is no fault, for what it
// held is learned again; but it must not be believed: a fact that was changed on this host's disk would be blamed on a patch.
func readKnown(file string) (known, bool) {
	var k known
	if !readDigested(file, &k) || k.Schema != baselineSchema || k.Baseline.Len() == 0 || k.Control.Len() == 0 {
		return known{}, false
	}
	return k, true
}

// readDigested reads a document whose digest is in the first line.
func readDigested(file string, into any) bool {
	content, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	digest, document, _ := strings.Cut(string(content), "\n")
	return digest == digestOf([]byte(document)) && json.Unmarshal([]byte(document), into) == nil
}

// writeDigested writes such a document.
func writeDigested(file string, from any) error {
	document, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return writeWhole(file, append([]byte(digestOf(document)+"\n"), document...))
}

func writeKnown(file string, k known) error {
	if err := writeDigested(file, k); err != nil {
		return fmt.Errorf("keeping the baseline: %w", err)
	}
	return nil
}

func digestOf(document []byte) string {
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:])
}

// BaselineCache is where baselines are kept below the cache's directory.
func BaselineCache(cacheDir string) string { return filepath.Join(cacheDir, "baselines") }

// halfWritten ends the names of files that are not whole yet.
const halfWritten = ".new"

// lockSuffix ends the names of the files by which runs wait for each other.
const lockSuffix = ".lock"

// unused is for how long something is kept in the cache of baselines, or in that of files, that no run asks for: patches come at
// least once a month, and images and probes are replaced more often.
const unused = 60 * 24 * time.Hour

// SweepBaselines removes what killed runs left half-written in the cache of baselines, or in that of files, and what was not used
// for 60 days. It returns what it removed.
func SweepBaselines(dir string, now time.Time) (removed []string, err error) {
	removed, err = sweepUnused(dir, now)
	if err != nil {
		return removed, err
	}
	halves, err := filepath.Glob(filepath.Join(dir, "*"+halfWritten))
	if err != nil {
		return removed, fmt.Errorf("looking for half-written baselines: %w", err)
	}
	var failures []error
	for _, half := range halves {
		file, err := os.Open(strings.TrimSuffix(half, halfWritten) + lockSuffix)
		if err == nil && unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			if err = os.Remove(half); err == nil {
				removed = append(removed, half)
			}
			err = errors.Join(err, file.Close())
		} else if err == nil {
			err = file.Close() // its writer lives
		}
		failures = append(failures, err)
	}
	return removed, errors.Join(failures...)
}

// sweepUnused leaves the files of locks: to delete one would let two in.
func sweepUnused(dir string, now time.Time) (removed []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for unused baselines: %w", err)
	}
	var failures []error
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || strings.HasSuffix(entry.Name(), lockSuffix) || now.Sub(info.ModTime()) < unused {
			continue // or it has just gone
		}
		path := filepath.Join(dir, entry.Name())
		if err := removeIfThere(path); err != nil {
			failures = append(failures, err)
			continue
		}
		removed = append(removed, path)
	}
	return removed, errors.Join(failures...)
}

// used notes that something of the cache was asked for. That it cannot be noted is no fault: it is learned again one day.
func used(file string, now time.Time) { _ = os.Chtimes(file, now, now) }

// lockKnown waits until no other run learns the same. The lock's file stays: to delete it would let two in.
func lockKnown(ctx context.Context, file string, waiting func()) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, fmt.Errorf("keeping the baseline: %w", err)
	}
	lock, err := os.OpenFile(file+lockSuffix, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the baseline: %w", err)
	}
	told := false
	err = wait.Until(ctx, "the other run to learn the baseline", time.Second, func(context.Context) (bool, error) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			if !told {
				waiting()
				told = true
			}
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock.Close, nil
}

// writeWhole writes a file of the cache so that it is there whole or not at all, also after a power cut of the host. Its writer
// holds a lock: what another one left half-written goes.
func writeWhole(file string, content []byte) (err error) {
	temporary, err := os.Create(file + halfWritten)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary.Name()))
		}
	}()
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), file)
}
