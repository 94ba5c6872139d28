package strictyaml

import (
	"bytes"
	"errors"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxSize bounds a file, in bytes. Files that people write are a thousand times smaller.
const MaxSize = 1 << 20

// Decode reads the one YAML document in data into the struct that into points to. file is used in messages only.
//
// Struct fields are named by their yaml tags; "-" keeps one out. A null value counts as absent. All mistakes are
// returned at once; the document is nil when data is not one YAML document at all, else it is usable, and what could be
// decoded is in into, so that the caller can go on with validation and return [Document.Err].
func Decode(file string, data []byte, into any) (*Document, Problems) {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		panic("strictyaml: Decode wants a pointer to a struct")
	}
	root, problem := parse(data)
	if problem != nil {
		problem.File = file
		return nil, Problems{*problem}
	}
	d := &Document{file: file, places: map[string]place{}, rejected: map[string]bool{}}
	d.decode("", root, target.Elem())
	return d, d.Problems()
}

// parse returns the root node of the only document.
func parse(data []byte) (*yaml.Node, *Problem) {
	if len(data) > MaxSize {
		return nil, &Problem{Text: "the file is larger than 1 MiB"}
	}
	var documents []yaml.Node
	if err := yaml.Load(data, &documents, yaml.WithAllDocuments()); err != nil {
		return nil, syntaxProblem(data, err)
	}
	switch {
	case len(documents) == 0 || len(documents[0].Content) == 0 || isNull(documents[0].Content[0]):
		return nil, &Problem{Line: 1, Column: 1, Text: "the file is empty"}
	case len(documents) > 1:
		second := documents[1]
		return nil, &Problem{
			Line: second.Line, Column: max(1, second.Column),
			Text: "a second document starts here: a file holds one",
		}
	}
	return documents[0].Content[0], nil
}

func syntaxProblem(data []byte, err error) *Problem {
	load, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return &Problem{Line: 1, Column: 1, Text: "not YAML: " + err.Error()}
	}
	text := "not YAML: " + load.Message
	if load.ContextMsg != "" {
		text = "not YAML: " + load.ContextMsg + ": " + load.Message
	}
	line, column := max(1, load.Mark.Line), max(1, load.Mark.Column)
	if lines := bytes.Split(data, []byte("\n")); line <= len(lines) {
		indent := lines[line-1][:len(lines[line-1])-len(bytes.TrimLeft(lines[line-1], " \t"))]
		if bytes.ContainsRune(indent, '\t') {
			text += " (indent with spaces: YAML knows no tabs)"
		}
	}
	return &Problem{Line: line, Column: column, Text: strings.TrimSpace(text)}
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// resolve follows aliases; the place of a problem is then that of the anchored value.
func resolve(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode && node.Alias != nil {
		node = node.Alias
	}
	return node
}
