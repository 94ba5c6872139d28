package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/progress"
)

// ImportOrder says what to import and how its guest may be reached.
type ImportOrder struct {
	File      string // a qcow2 file
	Name      string // of the image
	Firmware  hypervisor.Firmware
	MemoryMiB int
	VCPUs     int
	// User is who logs in by a seed or the given key. One that is not root needs sudo without a password.
	User string
	// KeyFile is a private key that the guest knows already, tried last; may be empty.
	KeyFile string

	// NewKey makes the key for one boot by a way, or reads the given one.
	NewKey func(Access) (Key, error)
	// HostKey asks whoever answers at an address for its host key, in the form of authorized_keys. Its error wraps
	// [guest.ErrLost] while nobody answers.
	HostKey func(ctx context.Context, address string) (string, error)
}

// Imported is what is known of an image that patchlab did not build.
type Imported struct {
	File    string `json:"file"`   // its name where it came from
	SHA256  string `json:"sha256"` // of that file
	System  string `json:"system"` // as it calls itself
	Systemd int    `json:"systemd"`
	// Lacks says in sentences what runs on this image cannot do or show, compared with an image that patchlab built.
	Lacks []string `json:"lacks"`
}

// importSchema changes when the same file would be made into something else.
const importSchema = 1

// recipe identifies how the image came about, like [Recipe] for a built one.
func (i Imported) recipe(m manifest.Manifest) string {
	// Nothing in it that JSON cannot hold.
	text, _ := json.Marshal([]any{importSchema, i.SHA256, m.Firmware, m.Memory, m.VCPUs})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// importJob is one import under way: a build whose disk is there already.
type importJob struct {
	*buildJob
	order ImportOrder
}

// Import makes an image of a foreign qcow2 file. The guest is booted once to get to know it and to find a way in, and
// once more on an overlay, to prove that clones are reached by that way. Like a build it ends with a whole image or with
// nothing. A file that is not taken gives a [*RefusedError], a guest that does not let anybody in an [*UnreachableError].
func (b *Builder) Import(ctx context.Context, order ImportOrder) (imported Image, err error) {
	if err := b.importPreflight(order); err != nil {
		return Image{}, err
	}
	job := &importJob{order: order, buildJob: &buildJob{
		Builder: b, seconds: map[string]float64{}, packages: map[string]string{},
		manifest: manifest.Manifest{
			Name: order.Name, Firmware: order.Firmware, Memory: manifest.Size(order.MemoryMiB), VCPUs: order.VCPUs,
		},
		imported: &Imported{File: filepath.Base(order.File), Lacks: []string{}},
	}}
	waiting := func() { b.emit(order.Name, progress.Note, "wait", "another build of "+order.Name+" is running") }
	job.workshop, err = b.Store.openWorkshop(ctx, workshopOrder{name: order.Name, waiting: waiting, clear: job.clearDomains})
	if err != nil {
		return Image{}, err
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.Timeouts.Cleanup)
		defer cancel()
		err = errors.Join(err, job.workshop.close(cleanup))
	}()
	if err := job.openLog(b.Store.Dir); err != nil {
		return Image{}, err
	}
	defer func() { err = errors.Join(err, job.closeLog()) }()
	if imported, err = job.run(ctx); err != nil {
		return Image{}, fmt.Errorf("importing image %s (log: %s): %w", order.Name, job.logs, err)
	}
	return imported, b.removeOlder(imported)
}

// importPreflight finds out what would fail later.
func (b *Builder) importPreflight(order ImportOrder) error {
	if err := manifest.CheckName(order.Name); err != nil {
		return err
	}
	for _, name := range []string{"qemu-img", "prlimit"} {
		if lookTool(name) == "" {
			return errors.New("importing images needs programs that are not here; install them: " +
				"apt-get install --no-install-recommends qemu-utils util-linux")
		}
	}
	if err := os.MkdirAll(b.Store.Dir, 0o711); err != nil {
		return fmt.Errorf("making the image directory: %w", err)
	}
	return nil
}

// run is the import as a list of steps.
func (j *importJob) run(ctx context.Context) (Image, error) {
	if err := j.stage(ctx, "disk", j.takeDisk); err != nil {
		return Image{}, err
	}
	if err := j.withMachine(ctx, j.spec("first"), j.adopt); err != nil {
		return Image{}, err
	}
	if err := j.stage(ctx, "check", func(ctx context.Context) error {
		return j.withMachine(ctx, j.spec("check"), j.checkClone)
	}); err != nil {
		return Image{}, err
	}
	var imported Image
	err := j.stage(ctx, "store", func(ctx context.Context) (err error) {
		imported, err = j.finish(ctx)
		return err
	})
	return imported, err
}
