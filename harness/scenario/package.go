package scenario

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The kinds of what an increment's packages name.
const (
	KindDeb = "deb"
	KindRPM = "rpm"
)

// controlFile makes a directory the source of a .deb package.
const controlFile = "DEBIAN/control"

// PackageKind tells what a packages entry at a path on the host is: [KindDeb] for a .deb file or a directory with
// DEBIAN/control, [KindRPM] for a .rpm file or a directory with one *.spec. The error reads on from the entry's name.
func PackageKind(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", errors.New("cannot be read: " + err.Error())
	}
	if !info.IsDir() {
		switch filepath.Ext(file) {
		case ".deb":
			return KindDeb, nil
		case ".rpm":
			return KindRPM, nil
		default:
			return "", errors.New("is no package: want .deb, .rpm or the directory of a package's source")
		}
	}
	if info, err := os.Stat(filepath.Join(file, filepath.FromSlash(controlFile))); err == nil && info.Mode().IsRegular() {
		return KindDeb, nil
	}
	if spec, err := SpecFile(file); err == nil && spec != "" {
		return KindRPM, nil
	}
	return "", errors.New("is no package's source: want " + controlFile + " or exactly one .spec file in it")
}

// SpecFile returns the name of the one *.spec file of a directory, or "" if it has none or several.
func SpecFile(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	found := ""
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !strings.HasSuffix(entry.Name(), ".spec") {
			continue
		}
		if found != "" {
			return "", nil
		}
		found = entry.Name()
	}
	return found, nil
}

// kind is [PackageKind] of a payload path, or "".
func (p payload) kind(name string) string {
	if !fs.ValidPath(name) {
		return ""
	}
	kind, _ := PackageKind(filepath.Join(p.dir, filepath.FromSlash(name))) // an error was reported
	return kind
}
