// Package schema holds the JSON Schemas of the files that people write for patchlab, for editors and for other programs. They are
// made from the Go types by this package's test.
package schema

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed *.json
var files embed.FS

// Names lists the kinds of files that have a schema.
func Names() []string { return []string{"image", "scenario"} }

// Get returns the JSON Schema of a kind of file.
func Get(name string) ([]byte, error) {
	content, err := files.ReadFile(name + ".json")
	if err != nil {
		return nil, fmt.Errorf("unknown schema %q (have %s)", name, strings.Join(Names(), ", "))
	}
	return content, nil
}
