// Package scenarios holds the scenarios that come with patchlab, by name: openssl-nginx, zoo/service-disabled. What a
// scenario brings along lies in a directory of its name; what cases of the zoo have in common before their patches, in
// zoo/server, so that its image, baseline and control are made once for all of them.
package scenarios

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed *.yaml postgresql zoo
var files embed.FS

// server is what several cases have before their patch.
const server = "zoo/server/"

// Names lists the scenarios, sorted.
func Names() []string {
	var names []string
	for _, pattern := range []string{"*.yaml", "zoo/*.yaml"} {
		found, _ := fs.Glob(files, pattern) // fails for a bad pattern only
		for _, file := range found {
			names = append(names, strings.TrimSuffix(file, ".yaml"))
		}
	}
	slices.Sort(names)
	return names
}

// Extract writes a scenario and its payload below dir and returns the path of its file.
func Extract(name, dir string) (string, error) {
	if !slices.Contains(Names(), name) {
		return "", fmt.Errorf("there is neither a file nor a built-in scenario %q (have %s)", name, strings.Join(Names(), ", "))
	}
	err := fs.WalkDir(files, path.Dir(name), func(file string, entry fs.DirEntry, err error) error {
		wanted := file == name+".yaml" || strings.HasPrefix(file, name+"/") || strings.HasPrefix(file, server)
		if err != nil || entry.IsDir() || !wanted {
			return err
		}
		data, err := files.ReadFile(file)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o600)
	})
	if err != nil {
		return "", fmt.Errorf("writing the built-in scenario %s: %w", name, err)
	}
	return filepath.Join(dir, filepath.FromSlash(name)+".yaml"), nil
}
