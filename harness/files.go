package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/rundir"
)

// FilesCache is where it is kept below the cache's directory what is known of the files of images.
func FilesCache(cacheDir string) string { return filepath.Join(cacheDir, "files") }

// KnowFiles reads the files of an image that has just been made from its disk on this host, and keeps what it learns for the runs
// on it: a guest under emulation would need minutes. A run does the same for an image of which nothing is known. It fails for a disk
// that the host cannot read, which is the end of no image: its guest tells, then.
func (l Lab) KnowFiles(ctx context.Context, of image.Image, sink progress.Sink) error {
	step := func(kind progress.Kind, text string, elapsed time.Duration) {
		sink.Emit(progress.Event{Kind: kind, Run: of.Name, Step: "files", Text: text, Elapsed: elapsed, At: l.Now()})
	}
	began := l.Now()
	step(progress.Start, "", 0)
	var failure error
	_, err := l.filesOf(ctx, of, func() { step(progress.Note, filesBusy, 0) }, func(scratch string) *probe.Files {
		read, err := l.DiskFiles(ctx, of, scratch)
		failure = err
		return read
	})
	if err = errors.Join(err, failure); err != nil {
		step(progress.Failed, err.Error(), l.Now().Sub(began))
		return err
	}
	step(progress.Done, "", l.Now().Sub(began))
	return nil
}

const filesBusy = "another run is reading the image's files"

// knowFiles finds what is known of the files of the run's image before any guest of it was read. A disk that the host cannot read is no
// fault.
func (r *run) knowFiles(ctx context.Context) error {
	busy := func() { r.emit(progress.Note, "files", filesBusy, 0) }
	files, err := r.lab.filesOf(ctx, r.image, busy, func(scratch string) *probe.Files { return r.readDisk(ctx, scratch) })
	if err != nil {
		return err
	}
	if files != nil {
		r.imageFiles, r.files = files, files
	}
	return context.Cause(ctx)
}

// filesOf finds what is known of the files of an image in the cache, or has it read, which may fail by returning nil: then
// nothing is known. It calls busy when somebody else is reading.
func (l Lab) filesOf(
	ctx context.Context, of image.Image, busy func(), read func(scratch string) *probe.Files,
) (files *probe.Files, err error) {
	file := filepath.Join(FilesCache(l.CacheDir), of.Digest)
	if files, ok := readFiles(file); ok {
		used(file, l.Now())
		return files, nil
	}
	if l.DiskFiles == nil {
		return nil, nil
	}
	unlock, err := lockKnown(ctx, file, busy)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if files, ok := readFiles(file); ok {
		return files, nil
	}
	scratch := file + halfWritten
	files = read(scratch)
	if err := removeIfThere(scratch); err != nil || files == nil {
		return nil, err
	}
	return files, keepFiles(file, files)
}

// readDisk returns nil for a disk that cannot be read.
func (r *run) readDisk(ctx context.Context, scratch string) (files *probe.Files) {
	_ = r.phase("files", "", func(p *phase) error {
		ctx, cancel := context.WithTimeout(ctx, r.bounds.Stage) // large disks take minutes
		defer cancel()
		read, err := r.lab.DiskFiles(ctx, r.image, scratch)
		if err != nil {
			p.note("the image's files are read in the guest: %v", err)
			return nil
		}
		p.note("%d files of the image were read on the host", read.Len())
		files = read
		return nil
	})
	return files
}

// rememberFiles keeps what was read of the files of a guest that was just booted, for those that boot later.
func (r *run) rememberFiles(read probe.Reading) error {
	if r.imageFiles != nil || read.Files.Len() == 0 {
		return nil
	}
	r.imageFiles = read.Files
	if r.files == nil {
		r.files = read.Files
	}
	dir := FilesCache(r.lab.CacheDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keeping what is known of files: %w", err)
	}
	// A derived image has most of its base's.
	return keepFiles(filepath.Join(dir, cmp.Or(r.image.Base, r.image.Digest)), read.Files)
}

// templateFiles reads what was known of a template's files when it was saved: its clones have the same.
func templateFiles(template image.Image) (*probe.Files, error) {
	path := image.SavedBeside(template.Disk).Files
	files, ok := readFiles(path)
	if !ok {
		return nil, fmt.Errorf("reading what is known of files: %s is damaged", path)
	}
	return files, nil
}

// KeptFiles returns what was known of the files of the guest that a run has kept, when it was last read; nil for nothing.
func KeptFiles(runDir string) *probe.Files {
	files, _ := readFiles(filepath.Join(runDir, rundir.KnownFiles))
	return files
}

// readFiles reads a file of a digest and what it is the digest of. A damaged one is no fault: the guest is read instead.
func readFiles(path string) (*probe.Files, bool) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, false
	}
	digest, document, _ := strings.Cut(string(content), "\n")
	files := &probe.Files{}
	if digest != digestOf([]byte(document)) || json.Unmarshal([]byte(document), files) != nil {
		return nil, false
	}
	return files, true
}

func keepFiles(path string, files *probe.Files) error {
	document, err := json.Marshal(cmp.Or(files, &probe.Files{}))
	if err != nil {
		return fmt.Errorf("keeping what is known of files: %w", err)
	}
	// Another run may write the same.
	temporary, err := os.CreateTemp(filepath.Dir(path), ".files-*")
	if err != nil {
		return fmt.Errorf("keeping what is known of files: %w", err)
	}
	_, err = temporary.Write(append([]byte(digestOf(document)+"\n"), document...))
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keeping what is known of files: %w", err), removeIfThere(temporary.Name()))
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// tellFirstReading says why a reading takes a while.
func (p *phase) tellFirstReading(known *probe.Files) {
	if known.Len() == 0 {
		p.run.emit(progress.Note, p.name, "reading every file of the guest, for it is the first time: a minute under emulation", 0)
	}
}
