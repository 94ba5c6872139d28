package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// piece is how much of a file is looked at at a time, in bytes: no guest may fill the host's memory. A secret that lies on the
// border of two pieces may stay.
const piece = 1 << 20

// HideFile hides the secrets in a file of evidence that somebody else has written. The file is replaced only when there is
// something to hide; one that does not exist has none.
func (h *Hider) HideFile(path string) error {
	from, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hiding secrets: %w", err)
	}
	defer func() { _ = from.Close() }() // only read
	info, err := from.Stat()
	if err != nil {
		return fmt.Errorf("hiding secrets: %w", err)
	}
	to, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return fmt.Errorf("hiding secrets: %w", err)
	}
	found, err := h.copy(to, from)
	err = errors.Join(err, to.Close())
	if err == nil && found {
		err = os.Rename(to.Name(), path)
	} else {
		err = errors.Join(err, os.Remove(to.Name()))
	}
	if err != nil {
		return fmt.Errorf("hiding secrets in %s: %w", path, err)
	}
	return nil
}

// copy reports whether there was anything to hide.
func (h *Hider) copy(to io.Writer, from io.Reader) (found bool, err error) {
	for {
		content, err := io.ReadAll(io.LimitReader(from, piece))
		if err != nil || len(content) == 0 {
			return found, err
		}
		hidden := h.Hide(string(content))
		found = found || hidden != string(content)
		if _, err := io.WriteString(to, hidden); err != nil {
			return found, err
		}
	}
}

// Writer returns a writer that hides the secrets of what is written, which has to come in whole lines.
func (h *Hider) Writer(to io.Writer) io.Writer { return writer{h, to} }

type writer struct {
	hider *Hider
	to    io.Writer
}

// Write passes everything on and counts what it was given.
func (w writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.to, w.hider.Hide(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// HideBelow hides the secrets in the text files below a directory: logs, reports and diffs by their extension. keep names what
// is to stay as it is: by its path below the directory, or with a dot in front by the end of that.
func (h *Hider) HideBelow(dir string, keep ...string) error {
	var failures []error
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below := strings.TrimPrefix(path, dir+string(filepath.Separator))
		switch {
		case slices.ContainsFunc(keep, func(k string) bool { return below == k || k[0] == '.' && strings.HasSuffix(below, k) }):
			if entry.IsDir() {
				return filepath.SkipDir
			}
		case entry.Type().IsRegular() && slices.Contains([]string{".log", ".json", ".xml", ".diff"}, filepath.Ext(path)):
			failures = append(failures, h.HideFile(path))
		}
		return nil
	})
	if err != nil {
		failures = append(failures, fmt.Errorf("hiding secrets: %w", err))
	}
	return errors.Join(failures...)
}
