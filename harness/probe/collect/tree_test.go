package collect

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/systemd"
)

// tree makes a guest's file system: content by path, where "-> TARGET" is a symlink and a path that ends in / a directory.
func tree(t *testing.T, content map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range content {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		target, isLink := strings.CutPrefix(text, "-> ")
		var err error
		switch {
		case strings.HasSuffix(path, "/"):
			err = os.MkdirAll(full, 0o755)
		case isLink:
			err = os.Symlink(target, full)
		default:
			err = os.WriteFile(full, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func chmod(t *testing.T, root, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(filepath.Join(root, path), mode); err != nil {
		t.Fatal(err)
	}
}

// collected runs one collector over a tree and returns its facts in order.
func collected(
	t *testing.T, src *Source, collect func(context.Context, *Source) ([]fact.Fact, error),
) []fact.Fact {
	t.Helper()
	doc, _ := Run(t.Context(), src, []Collector{{"x", collect}}, fixedClock)
	for _, note := range doc.Notes {
		t.Errorf("note: %s", note.Error)
	}
	return doc.Facts.All()
}

func named(kind fact.Kind, name string, attributes ...string) fact.Fact {
	f := fact.Fact{Kind: kind, Name: name, Attributes: map[string]string{}}
	for i := 0; i < len(attributes); i += 2 {
		f.Attributes[attributes[i]] = attributes[i+1]
	}
	return f
}

// manager is an init system that knows what it was told.
type manager struct {
	units   []systemd.Unit
	results map[string]string
	asked   []string
}

func (m *manager) Units(context.Context, ...string) ([]systemd.Unit, error) { return m.units, nil }

func (m *manager) Result(_ context.Context, unit string) (string, error) {
	m.asked = append(m.asked, unit)
	return m.results[unit], nil
}
