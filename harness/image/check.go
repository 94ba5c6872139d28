package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"
)

// checkedFile records what the files looked like when their content was last hashed.
const checkedFile = "checked.json"

// fingerprint changes whenever the file is written to, replaced or restored, at no cost to look at.
type fingerprint struct {
	Size    int64  `json:"size"`
	Inode   uint64 `json:"inode"`
	Changed int64  `json:"changed"` // ctime, ns: unlike mtime it cannot be set back
	Written int64  `json:"written"` // mtime, ns
}

// Check makes sure that the files are what was built: by their size always, by their whole content when one of them
// was touched since the last time. It returns a [*DamagedError] if not.
func (s *Store) Check(ctx context.Context, image Image) error {
	now, err := look(image)
	if err != nil {
		return err
	}
	if err := checkVariables(ctx, image); err != nil {
		return err
	}
	var last map[string]fingerprint
	text, err := os.ReadFile(filepath.Join(filepath.Dir(image.Disk), checkedFile))
	if err == nil && json.Unmarshal(text, &last) == nil && maps.Equal(last, now) {
		return nil
	}
	return s.Verify(ctx, image)
}

// Verify hashes everything. It returns a [*DamagedError] if it is not what was built.
func (s *Store) Verify(ctx context.Context, image Image) error {
	before, err := look(image)
	if err != nil {
		return err
	}
	if err := checkVariables(ctx, image); err != nil {
		return err
	}
	sum, err := hashFile(ctx, image.Disk)
	if err != nil {
		return fmt.Errorf("verifying image %s: %w", image.Name, err)
	}
	if sum != image.DiskSHA256 {
		return &DamagedError{Name: image.Name, Disk: image.Disk, Reason: "has another SHA-256 than when it was built"}
	}
	if image.Template != nil {
		for name := range image.Template.Files {
			if err := image.checkFile(ctx, name); err != nil {
				return err
			}
		}
	}
	return remember(image, before)
}

// remember saves the next check its work. A store that one may only read is checked in full every time.
func remember(image Image, seen map[string]fingerprint) error {
	text, err := json.Marshal(seen)
	if err != nil {
		return fmt.Errorf("verifying image %s: %w", image.Name, err)
	}
	path := filepath.Join(filepath.Dir(image.Disk), checkedFile)
	temporary := fmt.Sprintf("%s.%d", path, os.Getpid())
	err = os.WriteFile(temporary, append(text, '\n'), 0o644)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return fmt.Errorf("verifying image %s: %w", image.Name, errors.Join(err, os.Remove(temporary)))
	}
	return nil
}

// look returns the fingerprints of an image's large files, by name.
func look(image Image) (map[string]fingerprint, error) {
	sizes := map[string]int64{filepath.Base(image.Disk): image.DiskSize}
	if image.Template != nil {
		for name, file := range image.Template.Files {
			sizes[name] = file.Size
		}
	}
	found := map[string]fingerprint{}
	for name, size := range sizes {
		path := filepath.Join(filepath.Dir(image.Disk), name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &DamagedError{Name: image.Name, Disk: path, Reason: "is missing"}
		}
		if err != nil {
			return nil, fmt.Errorf("checking image %s: %w", image.Name, err)
		}
		if info.Size() != size {
			reason := fmt.Sprintf("has %d bytes instead of %d", info.Size(), size)
			return nil, &DamagedError{Name: image.Name, Disk: path, Reason: reason}
		}
		print := fingerprint{Size: info.Size(), Written: info.ModTime().UnixNano()}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			print.Inode, print.Changed = stat.Ino, stat.Ctim.Nano()
		}
		found[name] = print
	}
	return found, nil
}

// hashFile reads about 1 GB/s from the page cache on the host that this was measured on.
func hashFile(ctx context.Context, path string) (sum string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	if _, err := io.CopyBuffer(hash, contextReader{ctx, file}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// contextReader ends with its context. It lives for one call, which is why it may hold one.
type contextReader struct {
	ctx  context.Context
	from io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}
