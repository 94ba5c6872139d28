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
	"os"
	"path/filepath"
	"syscall"
)

// checkedFile records what the disk's file looked like when its content was last hashed.
const checkedFile = "checked.json"

// fingerprint changes whenever the file is written to, replaced or restored, at no cost to look at.
type fingerprint struct {
	Size    int64  `json:"size"`
	Inode   uint64 `json:"inode"`
	Changed int64  `json:"changed"` // ctime, ns: unlike mtime it cannot be set back
	Written int64  `json:"written"` // mtime, ns
}

// Check makes sure that the disk is what was built: by its size always, by its whole content when the file
// was touched since the last time. It returns a [*DamagedError] if not.
func (s *Store) Check(ctx context.Context, image Image) error {
	now, err := look(image)
	if err != nil {
		return err
	}
	if err := checkVariables(ctx, image); err != nil {
		return err
	}
	var last fingerprint
	text, err := os.ReadFile(filepath.Join(filepath.Dir(image.Disk), checkedFile))
	if err == nil && json.Unmarshal(text, &last) == nil && last == now {
		return nil
	}
	return s.Verify(ctx, image)
}

// Verify hashes the whole disk. It returns a [*DamagedError] if it is not what was built.
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
	return remember(image, before)
}

// remember saves the next check its work. A store that one may only read is checked in full every time.
func remember(image Image, seen fingerprint) error {
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

func look(image Image) (fingerprint, error) {
	info, err := os.Stat(image.Disk)
	if errors.Is(err, fs.ErrNotExist) {
		return fingerprint{}, &DamagedError{Name: image.Name, Disk: image.Disk, Reason: "is missing"}
	}
	if err != nil {
		return fingerprint{}, fmt.Errorf("checking image %s: %w", image.Name, err)
	}
	if info.Size() != image.DiskSize {
		reason := fmt.Sprintf("has %d bytes instead of %d", info.Size(), image.DiskSize)
		return fingerprint{}, &DamagedError{Name: image.Name, Disk: image.Disk, Reason: reason}
	}
	print := fingerprint{Size: info.Size(), Written: info.ModTime().UnixNano()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		print.Inode, print.Changed = stat.Ino, stat.Ctim.Nano()
	}
	return print, nil
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
