package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// The files of a template, beside its disk. The key opens the guest that is in its memory.
const (
	memoryFile = "memory"
	stateFile  = "state"
	keyFile    = "key"
	filesFile  = "files"
)

// Template is a booted, settled guest, saved with its RAM: an image from which a clone goes on. It is good for domains of one shape
// under one hypervisor.
type Template struct {
	// Made is what the guest was saved under. A template that was made under anything else is another one.
	Made Conditions `json:"made"`
	// AuthorizedKey is what the guest has been handed, the public half of the key beside the disk.
	AuthorizedKey string `json:"authorized_key"`
	// Files are the saved files beside the disk, by name.
	Files map[string]SavedFile `json:"files"`
}

// SavedFile is what a file was when it was saved.
type SavedFile struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"` // bytes
}

// Conditions are everything but its image that a saved guest depends on.
type Conditions struct {
	Schema      int    `json:"schema"` // of the way in which patchlab makes templates
	Accelerator string `json:"accelerator"`
	Hypervisor  string `json:"hypervisor"` // with its version
	MemoryMiB   int    `json:"memory_mib"`
	VCPUs       int    `json:"vcpus"`
	Probe       string `json:"probe"` // digest of the program that is in the guest
}

// Differs says in words what of these conditions differs from others; "" if nothing does.
func (c Conditions) Differs(from Conditions) string {
	var words []string
	for _, part := range []struct{ what, is, was string }{
		{"patchlab's way of making templates", fmt.Sprint(c.Schema), fmt.Sprint(from.Schema)},
		{"the accelerator", c.Accelerator, from.Accelerator},
		{"the hypervisor", c.Hypervisor, from.Hypervisor},
		{"the memory", fmt.Sprintf("%d MiB", c.MemoryMiB), fmt.Sprintf("%d MiB", from.MemoryMiB)},
		{"the number of CPUs", fmt.Sprint(c.VCPUs), fmt.Sprint(from.VCPUs)},
		{"the probe", c.Probe[:min(12, len(c.Probe))], from.Probe[:min(12, len(from.Probe))]},
	} {
		if part.is != part.was {
			words = append(words, fmt.Sprintf("%s is %s, was %s", part.what, part.is, part.was))
		}
	}
	return strings.Join(words, "; ")
}

func (t Template) digestText() string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t.Files)) {
		fmt.Fprintf(&text, "file %s %s\n", name, t.Files[name].SHA256)
	}
	return text.String() + "key " + t.AuthorizedKey + "\n"
}

// Saved is what a clone goes on from; nothing if the image is no template.
func (i Image) Saved() hypervisor.Saved {
	if i.Template == nil {
		return hypervisor.Saved{}
	}
	files := SavedBeside(i.Disk)
	return hypervisor.Saved{State: files.State, Memory: files.Memory}
}

// PrivateKey reads the key that opens the guest of a template, in PEM form.
func (i Image) PrivateKey() ([]byte, error) {
	content, err := os.ReadFile(SavedBeside(i.Disk).Key)
	if err != nil {
		return nil, fmt.Errorf("reading the key of the template of %s: %w", i.Name, err)
	}
	return content, nil
}

// TemplateFiles are the paths of what belongs to the disk of a template.
type TemplateFiles struct {
	State, Memory, Key string
	Files              string // what is known of the guest's files, of which it has the index
}

// SavedBeside returns where the saved guest of a disk lies that is to become a template.
func SavedBeside(disk string) TemplateFiles {
	dir := filepath.Dir(disk)
	return TemplateFiles{
		State: filepath.Join(dir, stateFile), Memory: filepath.Join(dir, memoryFile), Key: filepath.Join(dir, keyFile),
		Files: filepath.Join(dir, filesFile),
	}
}

// savedFiles hashes what Make left beside a disk. The files stay their owners': QEMU wants to write to the memory that it maps,
// though it changes a copy.
func savedFiles(ctx context.Context, disk string) (map[string]SavedFile, error) {
	found := map[string]SavedFile{}
	for _, name := range []string{memoryFile, stateFile, keyFile, filesFile} {
		path := filepath.Join(filepath.Dir(disk), name)
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("storing the template: %w", err)
		}
		sum, err := hashFile(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("hashing the template: %w", err)
		}
		found[name] = SavedFile{SHA256: sum, Size: info.Size()}
	}
	return found, nil
}

// checkFile hashes a saved file. It returns a [*DamagedError] if it is not what was saved.
func (i Image) checkFile(ctx context.Context, name string) error {
	path := filepath.Join(filepath.Dir(i.Disk), name)
	sum, err := hashFile(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &DamagedError{Name: i.Name, Disk: path, Reason: "is missing"}
	case err != nil:
		return fmt.Errorf("checking image %s: %w", i.Name, err)
	case sum != i.Template.Files[name].SHA256:
		return &DamagedError{Name: i.Name, Disk: path, Reason: "has another SHA-256 than when it was saved"}
	}
	return nil
}

// Superseded returns a template of the same base that was made under other conditions, the newest one.
func (s *Store) Superseded(base Image, now Conditions) (Image, bool) {
	images, _ := s.versions(base.Name) // a damaged one is none
	for _, found := range images {
		if found.Template != nil && found.Base == base.Digest && found.Template.Made != now {
			return found, true
		}
	}
	return Image{}, false
}

// RemoveSuperseded removes the templates of the same base that were made under other conditions, except those in use.
func (s *Store) RemoveSuperseded(base Image, now Conditions) error {
	images, _ := s.versions(base.Name) // a damaged one is for others to find
	var failures []error
	for _, found := range images {
		if found.Template == nil || found.Base != base.Digest || found.Template.Made == now {
			continue
		}
		if err := s.remove(found.Name, found.Digest); err != nil && !errors.Is(err, ErrInUse) {
			failures = append(failures, fmt.Errorf("removing an old template of %s: %w", base.Name, err))
		}
	}
	return errors.Join(failures...)
}
