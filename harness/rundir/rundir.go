// Package rundir names the files of a run directory and holds the lock that says that the run is alive.
//
// All evidence of a run lies in its directory whatever happens; this package is the one list of what is where.
package rundir

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The files of a run directory.
const (
	Result     = "result.json"   // the verdict, schema 1
	JUnit      = "junit.xml"     // the same for CI servers
	Console    = "console.log"   // what the guest wrote to its serial port, over all boots
	Screenshot = "screen.png"    // the last screen seen
	ScreenText = "screen.txt"    // the last text screen, where the console did not say enough
	Commands   = "commands.log"  // every command run in the guest, with exit code and seconds
	Downloads  = "downloads.log" // what the guest fetched through the package proxy
	Events     = "events.log"    // the progress lines
	Scenario   = "scenario.yaml"
	Facts      = "facts"       // directory: PHASE.json
	Suites     = "suites"      // directory: PHASE.json and PHASE.log
	Apply      = "apply"       // directory: INCREMENT.log
	Packages   = "packages"    // directory: INCREMENT/FILE, the packages that were built of sources
	Journal    = "journal"     // directory: PHASE.log, the guest's journal where something was found
	OutOfBand  = "out-of-band" // directory: PHASE.log, what the agent told of a guest that ssh does not reach
	PowerCut   = "power-cut"   // directory: PHASE.log, what a power cut kept and lost
	Rescue     = "rescue"      // directory: what the screen showed to somebody who chose in the boot menu, and what a repair said
	// What a helper domain read from the disk of a dead guest, and its own console.
	HelperFacts   = OutOfBand + "/helper-facts.json"
	HelperJournal = OutOfBand + "/helper-journal.log"
	HelperConsole = OutOfBand + "/helper-console.log"

	Diffs = "diffs" // directory: text diffs of changed files
	// HandPackages is a directory, INCREMENT/FILE: packages that a bench installs by hand, while it does. They are no evidence.
	HandPackages = "by-hand-packages"
	Overlay      = "disk.qcow2"
	Checkpoints  = "checkpoints"    // directory: states of the guest, which go with it
	Kept         = "kept.json"      // how to reach the guest that --keep left running; gc leaves such a run alone
	KnownFiles   = Facts + "/known" // what is known of the files of a kept guest, so that they need not be read again
	Key          = "key.pem"        // and with which key
	Handoffs     = ".handoff.json"  // the end of the names of what suites are handed: facts
	lockFile     = "lock"
)

// What the names of a guest's disk, its EFI variables, its seed and its initrd end with. They are no evidence, and go with the domain.
const (
	DiskExt      = ".qcow2"
	VariablesExt = ".fd"
	SeedExt      = ".iso"
	InitrdExt    = ".initrd" // of a helper
)

// Moves begins the names of directories with a socket by which a driver saves a guest or lets it go on. They last for seconds.
const Moves = ".move"

// KeptGuest is the content of [Kept].
type KeptGuest struct {
	Address string `json:"address"`
	HostKey string `json:"host_key"`
	User    string `json:"user"` // who logs in; one that is not root becomes root through sudo
	// AuthorizedKey is what the guest was handed for it, a line of authorized_keys.
	AuthorizedKey string `json:"authorized_key,omitempty"`
}

// ErrLocked is returned when a live run holds the lock.
var ErrLocked = errors.New("the run is alive")

// Dir is a run directory whose lock is held.
type Dir struct {
	Path string
	ID   string
	lock *os.File
}

// Create makes a new run directory below parent and locks it. The id sorts by time and is unique.
func Create(parent string, now time.Time) (*Dir, error) {
	var random [3]byte
	_, _ = rand.Read(random[:]) // never fails, crypto/rand says
	id := now.UTC().Format("20060102-150405-") + hex.EncodeToString(random[:])
	path := filepath.Join(parent, id)
	// Others may pass through (the hypervisor runs as another user), not look around.
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, fmt.Errorf("making the run directory: %w", err)
	}
	dir, err := Lock(path)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{Facts, Suites, Apply, Diffs, Journal, OutOfBand, PowerCut, Rescue} {
		if err := os.Mkdir(dir.File(sub), 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("making the run directory: %w", err), dir.Close())
		}
	}
	return dir, nil
}

// Lock takes the lock of an existing run directory. It returns an error that wraps [ErrLocked] while the run lives,
// and fs.ErrNotExist when the directory is gone.
func Lock(path string) (*Dir, error) {
	file, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the run: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), file.Close())
	}
	return &Dir{Path: path, ID: filepath.Base(path), lock: file}, nil
}

// File returns the path of a file of the run.
func (d *Dir) File(elements ...string) string {
	return filepath.Join(append([]string{d.Path}, elements...)...)
}

// Write puts a file into the run directory, whole or not at all.
func (d *Dir) Write(name string, content []byte) error {
	path := d.File(name)
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return fmt.Errorf("writing evidence: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("writing evidence: %w", errors.Join(err, os.Remove(temporary)))
	}
	return nil
}

// WriteKept says how the guest that the run has kept is reached.
func (d *Dir) WriteKept(guest KeptGuest) error {
	content, err := json.MarshalIndent(guest, "", "  ")
	if err != nil {
		return fmt.Errorf("keeping the guest: %w", err)
	}
	return d.Write(Kept, append(content, '\n'))
}

// ReadKept returns how the guest that a run has kept is reached; an error that wraps fs.ErrNotExist if it has kept none.
func ReadKept(dir string) (KeptGuest, error) {
	content, err := os.ReadFile(filepath.Join(dir, Kept))
	if err != nil {
		return KeptGuest{}, fmt.Errorf("reading how to reach the guest: %w", err)
	}
	var guest KeptGuest
	if err := json.Unmarshal(content, &guest); err != nil {
		return KeptGuest{}, fmt.Errorf("reading how to reach the guest: %w", err)
	}
	return guest, nil
}

// Has tells whether the run has a file already.
func (d *Dir) Has(name string) bool {
	_, err := os.Stat(d.File(name))
	return !errors.Is(err, fs.ErrNotExist)
}

// Close gives up the lock. The evidence stays.
func (d *Dir) Close() error { return d.lock.Close() }
