package scenario

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// payload is the directory of the scenario file, which payload paths may not leave, not even through links.
type payload struct{ dir string }

// file checks the path of one regular file and returns it in its clean form.
func (p payload) file(name string) (string, error) {
	clean, info, err := p.find(name)
	if err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%q is not a regular file", name)
	}
	return clean, err
}

// entry checks the path of a regular file or a directory.
func (p payload) entry(name string) (string, error) {
	clean, info, err := p.find(name)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return "", fmt.Errorf("%q is neither a regular file nor a directory", name)
	}
	return clean, err
}

// find returns a path in its clean form and what is there.
func (p payload) find(name string) (string, fs.FileInfo, error) {
	clean, err := p.local(name)
	if err != nil {
		return "", nil, err
	}
	real, err := filepath.EvalSymlinks(filepath.Join(p.dir, filepath.FromSlash(clean)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, fmt.Errorf("there is no file %q in %s", name, p.dir)
	case err != nil:
		return "", nil, fmt.Errorf("%q cannot be read: %w", name, err)
	}
	root, err := filepath.EvalSymlinks(p.dir)
	if err != nil {
		return "", nil, fmt.Errorf("the scenario's directory cannot be read: %w", err)
	}
	if inside, err := filepath.Rel(root, real); err != nil || !filepath.IsLocal(inside) {
		return "", nil, fmt.Errorf("%q is a link out of the scenario's directory", name)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", nil, fmt.Errorf("%q cannot be read: %w", name, err)
	}
	return clean, info, nil
}

// local checks a path without looking at the disk.
func (p payload) local(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("is empty: want a path relative to the scenario file")
	case path.IsAbs(name):
		return "", fmt.Errorf("%q is absolute: want a path relative to the scenario file", name)
	case strings.ContainsRune(name, '\\'):
		return "", fmt.Errorf("%q has a backslash", name)
	case !filepath.IsLocal(filepath.FromSlash(name)):
		return "", fmt.Errorf("%q leaves the scenario's directory", name)
	}
	return path.Clean(name), nil
}

// glob expands a pattern into the files and directories that match, sorted.
func (p payload) glob(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "*?[") {
		name, err := p.entry(pattern)
		return []string{name}, err
	}
	clean, err := p.local(pattern)
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(os.DirFS(p.dir), clean)
	if err != nil {
		return nil, fmt.Errorf("%q is not a pattern: %w", pattern, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("nothing in %s matches %q", p.dir, pattern)
	}
	for i, name := range names {
		if names[i], err = p.entry(name); err != nil {
			return nil, err
		}
	}
	return names, nil
}
