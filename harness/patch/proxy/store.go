package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// store keeps files by the path that the guest asks for, each with the digest that its content had when it came. Names in
// the store are digests of the paths: a guest chooses no file name on the host.
type store struct{ dir string }

// recordExt ends the name of the file that holds another one's digest. Its time is when that one was last served.
const recordExt = ".sha256"

func (s *store) file(path string) string {
	sum := sha256.Sum256([]byte(path))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(s.dir, name[:2], name)
}

// errDamaged means that a file is not what it was when it came.
var errDamaged = errors.New("damaged in the cache")

// open returns a file that was checked against its digest. The error wraps fs.ErrNotExist when there is none, or when it was
// damaged and has been thrown away.
func (s *store) open(path string) (*os.File, error) {
	name := s.file(path)
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	err = check(file, name+recordExt)
	if err == nil {
		now := time.Now()
		_ = os.Chtimes(name+recordExt, now, now) // a cache that one may only read is not swept either
		return file, nil
	}
	_ = file.Close()
	if !errors.Is(err, errDamaged) {
		return nil, err
	}
	_ = os.Remove(name)
	return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
}

// CopyOut copies a file out of a proxy's cache, checked as whenever it is served. path is what a guest asked for. The error wraps
// fs.ErrNotExist when the file is not there any more.
func CopyOut(cacheDir, path, to string) (err error) {
	act := "copying " + path + " from the package cache"
	from, err := (&store{dir: cacheDir}).open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	defer func() { _ = from.Close() }() // it was only read
	file, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	_, err = io.Copy(file, from)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}

func check(file *os.File, record string) error {
	want, err := os.ReadFile(record)
	if errors.Is(err, fs.ErrNotExist) {
		return errDamaged
	}
	if err != nil {
		return err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != strings.TrimSpace(string(want)) {
		return errDamaged
	}
	_, err = file.Seek(0, io.SeekStart)
	return err
}

// keep writes a file whose content must have the digest, unless that is "".
func (s *store) keep(path string, content io.Reader, digest string, modified time.Time) (err error) {
	name := s.file(path)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	part, err := createPart(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer func() {
		_ = part.Close()
		_ = os.Remove(part.Name()) // there is none after the rename
	}()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(part, hash), content); err != nil {
		return err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if digest != "" && sum != digest {
		return fmt.Errorf("the mirror sends something else than the digest %s", digest)
	}
	if !modified.IsZero() {
		_ = os.Chtimes(part.Name(), modified, modified)
	}
	// The record goes first: a file without one would count as damaged for other proxies on the same directory.
	if err := writeAtomically(name+recordExt, sum+"\n"); err != nil {
		return err
	}
	if err := os.Rename(part.Name(), name); err != nil {
		return err
	}
	return part.Close() // and with it the lock
}

// remove forgets a file. Who has it open reads on.
func (s *store) remove(name string) error {
	var failures []error
	for _, file := range []string{name, name + recordExt} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

func writeAtomically(name, content string) error {
	temporary, err := createPart(filepath.Dir(name))
	if err != nil {
		return err
	}
	_, err = temporary.WriteString(content)
	if err == nil {
		err = os.Rename(temporary.Name(), name)
	}
	err = errors.Join(err, temporary.Close())
	if err != nil {
		_ = os.Remove(temporary.Name())
	}
	return err
}
