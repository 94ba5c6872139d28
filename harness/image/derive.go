package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Derivation makes an image that stands on another one: its disk is an overlay on the base's. Derived images live in a store of
// their own, under the base's name, and may be deleted at any time.
type Derivation struct {
	Base Image
	// Content is the digest of what was done to the base.
	Content string
	// Make leaves the finished overlay at the path disk, complete and closed, and the EFI variables that belong to it at
	// [VariablesBeside] it if the base has any. A further file beside it is thrown away.
	//
	// For a template, it leaves the files of [SavedBeside] too.
	Make func(ctx context.Context, disk string) error
	// Template, if set, makes the derived image one; its Files are filled in, and Make may fill in the key.
	Template *Template
	// Waiting is called once when another process makes the same image.
	Waiting func()
	Now     func() time.Time
}

// recipe is what the derived image is found by. The overlay names the base's disk by its path, so an image that was moved is
// another base.
func (d Derivation) recipe() string {
	sum := sha256.Sum256([]byte("base " + d.Base.Digest + "\npath " + d.Base.Disk + "\ncontent " + d.Content + "\n"))
	return hex.EncodeToString(sum[:])
}

// Derived returns the derived image if the store has it undamaged. A damaged one is removed, unless somebody stands on it: it can
// be made again.
func (s *Store) Derived(ctx context.Context, d Derivation) (Image, bool, error) {
	images, err := s.versions(d.Base.Name)
	if damaged := (&DamagedError{}); err != nil && !errors.As(err, &damaged) {
		return Image{}, false, err
	}
	for _, found := range images {
		if found.Recipe != d.recipe() || found.Base != d.Base.Digest {
			continue
		}
		err := s.Check(ctx, found)
		if damaged := (&DamagedError{}); errors.As(err, &damaged) {
			if err := s.remove(found.Name, found.Digest); err != nil && !errors.Is(err, ErrInUse) {
				return Image{}, false, fmt.Errorf("removing a damaged derived image: %w", err)
			}
			continue
		}
		return found, err == nil, err
	}
	return Image{}, false, nil
}

// Derive returns the derived image, from the store or made anew. A store never has half of one: it appears by one rename.
func (s *Store) Derive(ctx context.Context, d Derivation) (derived Image, err error) {
	recipe := d.recipe()
	w, err := s.openWorkshop(ctx, workshopOrder{
		name: recipe[:16], waiting: d.Waiting,
		clear: func(context.Context) error { return nil }, // the domain belongs to a run, which gc knows
	})
	if err != nil {
		return Image{}, err
	}
	defer func() { err = errors.Join(err, w.close(context.WithoutCancel(ctx))) }()
	if found, ok, err := s.Derived(ctx, d); ok || err != nil { // the other process may have made it
		return found, err
	}
	disk := w.file(diskFile)
	if err := d.Make(ctx, disk); err != nil {
		return Image{}, err
	}
	derived = d.Base
	derived.Schema, derived.Base, derived.Recipe, derived.Built = schema, d.Base.Digest, recipe, d.Now()
	if d.Template != nil {
		derived.Template = &Template{Made: d.Template.Made, AuthorizedKey: d.Template.AuthorizedKey}
		if derived.Template.Files, err = savedFiles(ctx, disk); err != nil {
			return Image{}, err
		}
	}
	if derived.DiskSHA256, err = hashFile(ctx, disk); err != nil {
		return Image{}, fmt.Errorf("hashing the derived image: %w", err)
	}
	info, err := os.Stat(disk)
	if err != nil {
		return Image{}, fmt.Errorf("storing the derived image: %w", err)
	}
	derived.DiskSize = info.Size()
	if variables := d.Base.variablesBeside(disk); variables != "" {
		if derived.VariablesSHA256, err = hashFile(ctx, variables); err != nil {
			return Image{}, fmt.Errorf("hashing the derived image: %w", err)
		}
		if err := os.Chmod(variables, 0o444); err != nil {
			return Image{}, fmt.Errorf("storing the derived image: %w", err)
		}
	}
	derived.Digest = derived.digest()
	if err := os.Chmod(disk, 0o444); err != nil {
		return Image{}, fmt.Errorf("storing the derived image: %w", err)
	}
	if err := s.add(derived, disk); err != nil {
		return Image{}, err
	}
	derived.Disk = filepath.Join(s.Dir, derived.Name, derived.Digest, diskFile)
	derived.Variables = derived.variablesBeside(derived.Disk)
	return derived, nil
}

// SweepDerived removes the derived images whose base is in none of the bases any more, and what dead processes left while they made one.
// It returns what it removed, as NAME/DIGEST. An image in use stays.
func (s *Store) SweepDerived(ctx context.Context, bases ...*Store) ([]string, error) {
	swept, err := s.Sweep(ctx)
	if err != nil {
		return swept, err
	}
	names, err := subdirectories(s.Dir)
	if err != nil {
		return swept, err
	}
	var failures []error
	for _, name := range names {
		digests, err := subdirectories(filepath.Join(s.Dir, name))
		failures = append(failures, err)
		for _, digest := range digests {
			if s.stands(bases, name, digest) {
				continue
			}
			switch err := s.remove(name, digest); {
			case errors.Is(err, ErrInUse):
			case err != nil:
				failures = append(failures, fmt.Errorf("removing a derived image of %s: %w", name, err))
			default:
				swept = append(swept, name+"/"+digest)
			}
		}
	}
	return swept, errors.Join(failures...)
}

// stands tells whether a derived image is whole and has its base.
func (s *Store) stands(bases []*Store, name, digest string) bool {
	derived, err := s.load(name, digest)
	return err == nil && slices.ContainsFunc(bases, func(base *Store) bool {
		_, err := base.load(name, derived.Base)
		return err == nil
	})
}
