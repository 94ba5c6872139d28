package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// ErrFileExists means that an export would overwrite a file.
var ErrFileExists = errors.New("it exists already")

// Exported is a file that was made of an image.
type Exported struct {
	File   string `json:"file"`
	Format string `json:"format"` // qcow2 or vagrant
	Size   int64  `json:"size"`   // bytes
	Image  string `json:"image"`
	Digest string `json:"digest"`
	// Notes are what one must know before using it.
	Notes []string `json:"notes"`
}

// ExportDisk writes an image's disk to one compressed qcow2 file that needs no other. An image's disk is a whole one
// already, so that nothing of it is lost but the space.
func ExportDisk(ctx context.Context, from Image, path string) (Exported, error) {
	exported := Exported{File: path, Format: "qcow2", Image: from.Name, Digest: from.Digest, Notes: []string{}}
	if from.Firmware == hypervisor.EFI {
		exported.Notes = append(exported.Notes, "it boots by EFI; the firmware's variables are not in it, and a boot loader in the fallback path is found without")
	}
	if from.Imported == nil {
		exported.Notes = append(exported.Notes, aliasNote)
	}
	err := whole(path, func(temporary string) error { return compress(ctx, from.Disk, temporary, io.Discard) })
	if err != nil {
		return Exported{}, fmt.Errorf("exporting image %s: %w", from.Name, err)
	}
	return exported.measured()
}

const aliasNote = "its package sources name an alias that only patchlab's clones know: write real ones into /etc/apt/sources.list"

func (e Exported) measured() (Exported, error) {
	info, err := os.Stat(e.File)
	if err != nil {
		return Exported{}, fmt.Errorf("looking at what was exported: %w", err)
	}
	e.Size = info.Size()
	return e, nil
}

// compress flattens and compresses a disk. zlib, because every reader of qcow2 knows it.
func compress(ctx context.Context, disk, to string, log io.Writer) error {
	convert := tool{
		name: "qemu-img", arguments: []string{"convert", "-q", "-f", "qcow2", "-O", "qcow2", "-c", "-W", "-m", "4", disk, to}, log: log,
	}
	if err := convert.run(ctx); err != nil {
		return fmt.Errorf("compressing the disk: %w", err)
	}
	return nil
}

// whole makes a file under a temporary name beside its own, which it gets when it is complete. It overwrites nothing.
func whole(path string, write func(temporary string) error) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("writing %s: %w; remove it first, or choose another name", path, ErrFileExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	directory, err := os.MkdirTemp(filepath.Dir(path), ".patchlab-export-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(directory)) }()
	temporary := filepath.Join(directory, filepath.Base(path))
	if err := write(temporary); err != nil {
		return err
	}
	if err := syncFile(temporary); err != nil {
		return err
	}
	// A link and not a rename: it fails where somebody else has made the file meanwhile.
	if err := os.Link(temporary, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
