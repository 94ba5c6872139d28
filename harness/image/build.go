package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/timing"
)

// Builder makes images.
type Builder struct {
	Store  *Store
	Driver hypervisor.Driver
	// NewKey makes the key of one boot. It is in no image.
	NewKey func() (Key, error)
	// Mirror finds where packages come from.
	Mirror      func(ctx context.Context) (mirror.Mirror, error)
	Accelerator hypervisor.Accelerator
	Timeouts    timing.Timeouts // scaled for the accelerator already
	// Unshare builds in a user namespace: for everybody but root.
	Unshare bool
	Sink    progress.Sink
	Now     func() time.Time

	missing func(unshare bool) []string // tests put theirs here; nil is missingTools
}

// Key lets into one boot of a guest.
type Key struct {
	AuthorizedKey string // a line of authorized_keys
	// Dialer connects to a guest whose host key is given in the form of authorized_keys; commands are recorded in log.
	Dialer func(address, hostKey string, log io.Writer) (guest.Dialer, error)
}

const (
	// neededSpace is what a build uses at its peak, with some room: root directory 0.7 GB, the same as raw disk, as qcow2.
	neededSpace = 3 << 30
	// rootBound ends a mirror that delivers a byte a minute. A root directory takes 50 s from a near mirror.
	rootBound = 45 * time.Minute
)

// UpToDate returns the image of a manifest if it is in the store, undamaged and made by the same recipe.
func (s *Store) UpToDate(ctx context.Context, m manifest.Manifest) (Image, bool, error) {
	found, err := Open(ctx, s, m.Name)
	damaged := &DamagedError{}
	switch {
	case errors.Is(err, ErrNotBuilt) || errors.As(err, &damaged):
		return Image{}, false, nil
	case err != nil:
		return Image{}, false, err
	}
	return found, found.Recipe == Recipe(m), nil
}

// Build makes the image of a manifest, or returns the one that is up to date unless rebuild is set. Until it is complete
// the store does not have it; a build that ends early, in whatever way, is gone.
func (b *Builder) Build(ctx context.Context, m manifest.Manifest, rebuild bool) (built Image, err error) {
	if found, ok, err := b.upToDate(ctx, m, rebuild); ok || err != nil {
		return found, err
	}
	source, err := b.preflight(ctx, m)
	if err != nil {
		return Image{}, err
	}
	job := &buildJob{Builder: b, manifest: m, seconds: map[string]float64{}}
	job.recipe = recipe{manifest: m, mirror: source, fsUUID: newUUID()}
	waiting := func() { b.emit(m.Name, progress.Note, "wait", "another build of "+m.Name+" is running") }
	job.workshop, err = b.Store.openWorkshop(ctx, workshopOrder{
		name: m.Name, waiting: waiting, clear: job.clearDomains,
	})
	if err != nil {
		return Image{}, err
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.Timeouts.Cleanup)
		defer cancel()
		err = errors.Join(err, job.workshop.close(cleanup))
	}()
	// The other build may have made what we want.
	if found, ok, err := b.upToDate(ctx, m, rebuild); ok || err != nil {
		return found, err
	}
	if err := job.openLog(b.Store.Dir); err != nil {
		return Image{}, err
	}
	defer func() { err = errors.Join(err, job.closeLog()) }()
	if built, err = job.run(ctx); err != nil {
		return Image{}, fmt.Errorf("building image %s (log: %s): %w", m.Name, job.logs, err)
	}
	return built, b.removeOlder(built)
}

func (b *Builder) upToDate(ctx context.Context, m manifest.Manifest, rebuild bool) (Image, bool, error) {
	if rebuild {
		return Image{}, false, nil
	}
	found, ok, err := b.Store.UpToDate(ctx, m)
	if ok {
		b.emit(m.Name, progress.Skipped, "build "+m.Name, "up to date: "+found.ShortDigest())
	}
	return found, ok, err
}

// preflight finds out what would fail half an hour later.
func (b *Builder) preflight(ctx context.Context, m manifest.Manifest) (mirror.Mirror, error) {
	lacks := missingTools
	if b.missing != nil {
		lacks = b.missing
	}
	if missing := lacks(b.Unshare); len(missing) > 0 {
		return mirror.Mirror{}, fmt.Errorf("building images needs programs that are not here; install them: "+
			"apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	if err := b.checkNamespaces(ctx); err != nil {
		return mirror.Mirror{}, err
	}
	if err := os.MkdirAll(b.Store.Dir, 0o711); err != nil {
		return mirror.Mirror{}, fmt.Errorf("making the image directory: %w", err)
	}
	if err := checkSpace(b.Store.Dir); err != nil {
		return mirror.Mirror{}, err
	}
	source, err := b.Mirror(ctx)
	if err != nil {
		return mirror.Mirror{}, err
	}
	if source.Security == "" && slices.Contains(m.Pockets, manifest.Security) {
		return mirror.Mirror{}, fmt.Errorf("image %s takes packages from the security archive: %w for it; "+
			"add one to the host's APT sources or to %s", m.Name, mirror.ErrNone, mirror.Variable)
	}
	return source, nil
}

func checkSpace(directory string) error {
	free, err := freeSpace(directory)
	if err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", directory, err)
	}
	if free < neededSpace {
		return fmt.Errorf("building an image needs %d MiB in %s, and %d MiB are free; remove images (patchlab image list, rm) "+
			"or set PATCHLAB_IMAGES_DIR", neededSpace>>20, directory, free>>20)
	}
	return nil
}

func freeSpace(directory string) (int64, error) {
	var stat unix.Statfs_t
	err := unix.Statfs(directory, &stat)
	return int64(stat.Bavail) * stat.Bsize, err //nolint:gosec // a file system's size fits
}

// removeOlder takes away what the new image replaces, unless a live run stands on it.
func (b *Builder) removeOlder(built Image) error {
	if _, err := b.Store.Remove(built.Name, built.Digest); err != nil && !errors.Is(err, ErrInUse) {
		return err
	}
	return nil
}

func (b *Builder) emit(name string, kind progress.Kind, step, text string) {
	b.Sink.Emit(progress.Event{Kind: kind, Run: name, Step: step, Text: text, At: b.Now()})
}

// buildJob is one build under way.
type buildJob struct {
	*Builder
	manifest manifest.Manifest
	recipe   recipe
	workshop *workshop
	hostKey  string
	packages map[string]string
	seconds  map[string]float64
	imported *Imported // nil where the image is built from its manifest
	access   Access
	logs     string // directory
	log      *os.File
}

// run is the build as a list of steps.
func (j *buildJob) run(ctx context.Context) (Image, error) {
	if err := j.stage(ctx, "root file system", j.makeRoot); err != nil {
		return Image{}, err
	}
	if err := j.stage(ctx, "disk", j.makeDisk); err != nil {
		return Image{}, err
	}
	if err := j.firstBoot(ctx); err != nil {
		return Image{}, err
	}
	if err := j.stage(ctx, "check", j.checkBoot); err != nil {
		return Image{}, err
	}
	var built Image
	err := j.stage(ctx, "store", func(ctx context.Context) (err error) {
		built, err = j.finish(ctx)
		return err
	})
	return built, err
}

// stage runs one step and tells how long it took.
func (j *buildJob) stage(ctx context.Context, name string, do func(context.Context) error) error {
	start := j.Now()
	j.emit(j.manifest.Name, progress.Start, name, "")
	fmt.Fprintf(j.log, "== %s\n", name) //nolint:errcheck // a log that cannot be written must not end the build
	err := do(ctx)
	event := progress.Event{Kind: progress.Done, Run: j.manifest.Name, Step: name, At: j.Now(), Elapsed: j.Now().Sub(start)}
	j.seconds[name] = event.Elapsed.Round(time.Millisecond).Seconds()
	if err != nil {
		event.Kind, event.Text = progress.Failed, err.Error()
	}
	j.Sink.Emit(event)
	return err
}

func (j *buildJob) openLog(store string) (err error) {
	j.logs = filepath.Join(store, logsDir, j.manifest.Name)
	if err := os.RemoveAll(j.logs); err != nil {
		return fmt.Errorf("removing the last build's log: %w", err)
	}
	if err := os.MkdirAll(j.logs, 0o755); err != nil {
		return fmt.Errorf("making the build's log: %w", err)
	}
	if j.log, err = os.Create(filepath.Join(j.logs, "build.log")); err != nil {
		return fmt.Errorf("making the build's log: %w", err)
	}
	return nil
}

// closeLog saves the console from the workshop's end.
func (j *buildJob) closeLog() error {
	err := os.Rename(j.workshop.file(consoleFile), filepath.Join(j.logs, consoleFile))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, j.log.Close())
}

// finish hashes the disk and puts the image into the store.
func (j *buildJob) finish(ctx context.Context) (Image, error) {
	disk := j.workshop.file(diskFile)
	sum, err := hashFile(ctx, disk)
	if err != nil {
		return Image{}, fmt.Errorf("hashing the disk: %w", err)
	}
	info, err := os.Stat(disk)
	if err != nil {
		return Image{}, fmt.Errorf("hashing the disk: %w", err)
	}
	version, err := j.Driver.Version(ctx)
	if err != nil {
		return Image{}, err
	}
	m := j.manifest
	built := Image{
		Schema: schema, Name: m.Name, Recipe: Recipe(m), DiskSHA256: sum, DiskSize: info.Size(),
		Distribution: m.Distribution, Release: m.Release,
		Firmware: m.Firmware, MemoryMiB: m.Memory.MiB(), VCPUs: m.VCPUs, MAC: mac(m.Name),
		HostKey: j.hostKey, Services: m.Services, Packages: j.packages,
		Built: j.Now().UTC().Truncate(time.Second), Hypervisor: version, Seconds: maps.Clone(j.seconds),
	}
	built.Access = j.access.withDefaults()
	if j.imported != nil {
		built.Imported, built.Recipe = j.imported, j.imported.recipe(m)
	}
	for _, pocket := range m.Pockets {
		built.Pockets = append(built.Pockets, string(pocket))
	}
	if m.Firmware == hypervisor.EFI {
		if built.VariablesSHA256, err = hashFile(ctx, j.workshop.file(variablesFile)); err != nil {
			return Image{}, fmt.Errorf("hashing the EFI variables: %w", err)
		}
	}
	built.Digest = built.digest()
	built.Disk = filepath.Join(j.Store.Dir, built.Name, built.Digest, diskFile)
	built.Variables = built.variablesBeside(built.Disk)
	if err := j.Store.add(built, disk); err != nil {
		return Image{}, err
	}
	seen, err := look(built)
	if err != nil {
		return Image{}, err
	}
	return built, remember(built, seen)
}
