package image

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Store is a directory of images: NAME/DIGEST/{disk.qcow2,image.json}, with variables.fd for EFI, and what a
// template has beside. Whatever begins with a dot
// is not an image: .build/ is where images come into being, .log/ keeps what the last build of each said.
type Store struct {
	Dir string
}

const (
	diskFile   = "disk.qcow2"
	recordFile = "image.json"
	holdPrefix = ".for-" // links to what an image is held for
)

// Find returns the newest image of a name, without a look at its disk. The error wraps [ErrNotBuilt] if there is none.
func (s *Store) Find(name string) (Image, error) {
	if !filepath.IsLocal(name) || strings.ContainsAny(name, "/.") {
		return Image{}, fmt.Errorf("%q is not the name of an image", name)
	}
	images, err := s.versions(name)
	if err != nil {
		return Image{}, err // an older image in the place of a damaged one would be a surprise
	}
	if len(images) == 0 {
		return Image{}, fmt.Errorf("image %s is %w; make it: patchlab image build %s", name, ErrNotBuilt, name)
	}
	return images[0], nil
}

// List returns all images, sorted by name, the newest of a name first. Damaged ones are told in the error; the others are
// returned all the same.
func (s *Store) List() ([]Image, error) {
	names, err := subdirectories(s.Dir)
	if err != nil {
		return nil, err
	}
	var all []Image
	var failures []error
	for _, name := range names {
		images, err := s.versions(name)
		all, failures = append(all, images...), append(failures, err)
	}
	return all, errors.Join(failures...)
}

// versions returns the images of a name, the newest first, and an error that tells of the damaged ones.
func (s *Store) versions(name string) ([]Image, error) {
	digests, err := subdirectories(filepath.Join(s.Dir, name))
	if err != nil {
		return nil, err
	}
	var images []Image
	var failures []error
	for _, digest := range digests {
		one, err := s.load(name, digest)
		switch {
		case errors.Is(err, fs.ErrNotExist): // half removed
		case err != nil:
			failures = append(failures, err)
		default:
			images = append(images, one)
		}
	}
	slices.SortFunc(images, func(a, b Image) int { return b.Built.Compare(a.Built) })
	return images, errors.Join(failures...)
}

func (s *Store) load(name, digest string) (Image, error) {
	path := filepath.Join(s.Dir, name, digest, recordFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return Image{}, fmt.Errorf("reading an image's record: %w", err)
	}
	var found Image
	if err := json.Unmarshal(text, &found); err != nil {
		return Image{}, &DamagedError{Name: name, Disk: path, Reason: "is not readable: " + err.Error()}
	}
	if found.Schema != schema {
		return Image{}, &DamagedError{Name: name, Disk: path, Reason: fmt.Sprintf("has schema %d, this patchlab knows %d", found.Schema, schema)}
	}
	if found.Name != name || found.Digest != digest || found.digest() != digest {
		return Image{}, &DamagedError{Name: name, Disk: path, Reason: "does not belong there"}
	}
	found.Disk = filepath.Join(s.Dir, name, digest, diskFile)
	found.Variables = found.variablesBeside(found.Disk)
	return found, nil
}

// add moves a finished build into the store. A store never has half an image: it appears by one rename.
func (s *Store) add(image Image, disk string) error {
	staged := filepath.Join(filepath.Dir(disk), "image")
	if err := os.Mkdir(staged, 0o755); err != nil {
		return fmt.Errorf("storing the image: %w", err)
	}
	if err := os.Rename(disk, filepath.Join(staged, diskFile)); err != nil {
		return fmt.Errorf("storing the image: %w", err)
	}
	if variables := image.variablesBeside(disk); variables != "" {
		if err := os.Rename(variables, filepath.Join(staged, variablesFile)); err != nil {
			return fmt.Errorf("storing the image: %w", err)
		}
		if err := syncFile(filepath.Join(staged, variablesFile)); err != nil {
			return err
		}
	}
	if image.Template != nil {
		for name := range image.Template.Files {
			if err := os.Rename(filepath.Join(filepath.Dir(disk), name), filepath.Join(staged, name)); err != nil {
				return fmt.Errorf("storing the template: %w", err)
			}
			if err := syncFile(filepath.Join(staged, name)); err != nil {
				return err
			}
		}
	}
	text, err := json.MarshalIndent(image, "", "  ")
	if err != nil {
		return fmt.Errorf("storing the image: %w", err)
	}
	if err := os.WriteFile(filepath.Join(staged, recordFile), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("storing the image: %w", err)
	}
	if err := syncFile(filepath.Join(staged, diskFile)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, image.Name), 0o755); err != nil {
		return fmt.Errorf("storing the image: %w", err)
	}
	if err := os.Rename(staged, filepath.Join(s.Dir, image.Name, image.Digest)); err != nil {
		return fmt.Errorf("storing the image: %w", err)
	}
	return nil
}

// syncFile makes sure that a power cut of the host does not leave a record beside a disk without its data.
func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("storing the image: %w", err)
	}
	return errors.Join(file.Sync(), file.Close())
}

// Hold keeps an image from being removed until release is called or the process ends.
func (s *Store) Hold(image Image) (release func() error, err error) {
	directory, err := os.Open(filepath.Dir(image.Disk))
	if err != nil {
		return nil, fmt.Errorf("holding image %s: %w", image.Name, err)
	}
	if err := unix.Flock(int(directory.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("holding image %s: it is being removed: %w", image.Name, err), directory.Close())
	}
	return directory.Close, nil
}

// HoldWhile keeps an image from being removed as long as there is a file at a path, beyond the end of this process. The image must be
// held meanwhile.
func (i Image) HoldWhile(path string) error {
	sum := sha256.Sum256([]byte(path))
	link := filepath.Join(filepath.Dir(i.Disk), holdPrefix+hex.EncodeToString(sum[:8]))
	if err := os.Symlink(path, link); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("holding image %s: %w", i.Name, err)
	}
	return nil
}

// held tells whether one of the files is there for which the image in a directory is held.
func held(directory string) (bool, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), holdPrefix) {
			continue
		}
		if _, err := os.Stat(filepath.Join(directory, entry.Name())); !errors.Is(err, fs.ErrNotExist) {
			return true, nil // also what cannot be looked at may be there
		}
	}
	return false, nil
}

// Remove deletes all images of a name, damaged ones too, but the one of the digest keep ("" keeps none). It returns
// the digests of those that it removed, and an error that wraps [ErrInUse] if somebody holds one of them.
func (s *Store) Remove(name, keep string) ([]string, error) {
	digests, err := subdirectories(filepath.Join(s.Dir, name))
	if err != nil {
		return nil, err
	}
	var removed []string
	var failures []error
	for _, digest := range digests {
		if digest == keep {
			continue
		}
		if err := s.remove(name, digest); err != nil {
			failures = append(failures, fmt.Errorf("removing image %s %s: %w", name, digest[:min(12, len(digest))], err))
			continue
		}
		removed = append(removed, digest)
	}
	// Goes with the last of its images.
	if err := os.Remove(filepath.Join(s.Dir, name)); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		failures = append(failures, fmt.Errorf("removing image %s: %w", name, err))
	}
	return removed, errors.Join(failures...)
}

func (s *Store) remove(name, digest string) (err error) {
	path := filepath.Join(s.Dir, name, digest)
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, directory.Close()) }()
	if err := unix.Flock(int(directory.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	} else if err != nil {
		return err
	}
	if held, err := held(path); err != nil || held {
		return cmp.Or(err, ErrInUse)
	}
	// The record first: without it the rest is no image.
	if err := os.Remove(filepath.Join(path, recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(path)
}

// subdirectories lists the directories in one that are not hidden, sorted; none if it does not exist.
func subdirectories(directory string) ([]string, error) {
	entries, err := os.ReadDir(directory)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}
