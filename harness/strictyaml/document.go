// Package strictyaml reads YAML files that people write by hand: every unknown key, duplicate key and bad value is
// reported at once with file, line and column, and validators can report at the place of a value afterwards.
package strictyaml

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Document is a decoded file that remembers where each value stands.
type Document struct {
	file     string
	places   map[string]place
	rejected map[string]bool // paths at which decoding has complained already
	problems Problems
}

type place struct{ line, column int }

// Problemf reports a mistake in the value at a path such as "increments[0].apt.mode"; "" is the whole file. Where the
// path does not exist in the file, the nearest value around it is the place. A value that could not be decoded has had
// its complaint: what validators say about it as well is dropped.
func (d *Document) Problemf(path, format string, arguments ...any) {
	at := place{1, 1}
	found := false
	for around := path; ; around = parent(around) {
		if d.rejected[around] {
			return
		}
		if p, ok := d.places[around]; ok && !found {
			at, found = p, true
		}
		if around == "" {
			break
		}
	}
	text := fmt.Sprintf(format, arguments...)
	if path != "" {
		text = path + ": " + text
	}
	d.problems = append(d.problems, Problem{File: d.file, Line: at.line, Column: at.column, Text: text})
}

// Has tells whether the file holds a value (not null) at a path.
func (d *Document) Has(path string) bool {
	_, ok := d.places[path]
	return ok
}

// Rejected tells whether the value at a path is there but could not be decoded.
func (d *Document) Rejected(path string) bool { return d.rejected[path] }

// Problems returns all problems so far, those of decoding included, sorted by position.
func (d *Document) Problems() Problems { return d.problems.sorted() }

// Err returns [Document.Problems] as an error, or nil when there are none.
func (d *Document) Err() error { return d.Problems().Err() }

// reject reports a value that cannot be decoded.
func (d *Document) reject(path string, node *yaml.Node, format string, arguments ...any) {
	d.rejected[path] = true
	d.report(path, node, format, arguments...)
}

func (d *Document) report(path string, node *yaml.Node, format string, arguments ...any) {
	text := fmt.Sprintf(format, arguments...)
	if path != "" {
		text = path + ": " + text
	}
	d.problems = append(d.problems, Problem{File: d.file, Line: node.Line, Column: node.Column, Text: text})
}

// parent cuts the last element off a path: a[0].b -> a[0] -> a -> "".
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}
