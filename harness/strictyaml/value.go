package strictyaml

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

var durationType = reflect.TypeFor[time.Duration]()

// decode puts a node into a settable value and notes where it stands.
func (d *Document) decode(path string, node *yaml.Node, to reflect.Value) {
	node = resolve(node)
	if isNull(node) {
		return // absent: the zero value stands for the default
	}
	d.places[path] = place{node.Line, node.Column}
	if d.decodeOwn(path, node, to) {
		return
	}
	switch to.Kind() {
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		d.decode(path, node, to.Elem())
	case reflect.Struct:
		d.decodeStruct(path, node, to)
	case reflect.Slice:
		d.decodeList(path, node, to)
	case reflect.Map:
		d.decodeMap(path, node, to)
	default:
		if err := node.Decode(to.Addr().Interface()); err != nil {
			d.reject(path, node, "want %s, not %s", wanted(to.Type()), shown(node))
		}
	}
}

// decodeOwn lets types read themselves, if they can.
func (d *Document) decodeOwn(path string, node *yaml.Node, to reflect.Value) bool {
	switch own := to.Addr().Interface().(type) {
	case yaml.Unmarshaler:
		if err := own.UnmarshalYAML(node); err != nil {
			d.reject(path, node, "%v", err)
		}
	case encoding.TextUnmarshaler:
		if node.Kind != yaml.ScalarNode {
			d.reject(path, node, "want one value, not %s", shown(node))
		} else if err := own.UnmarshalText([]byte(node.Value)); err != nil {
			d.reject(path, node, "%v", err)
		}
	default:
		return false
	}
	return true
}

func (d *Document) decodeStruct(path string, node *yaml.Node, to reflect.Value) {
	if node.Kind != yaml.MappingNode {
		d.reject(path, node, "want keys (%s), not %s", strings.Join(keysOf(to.Type()), ", "), shown(node))
		return
	}
	fields := fieldsOf(to.Type())
	d.eachKey(path, node, func(key, value *yaml.Node) {
		index, known := fields[key.Value]
		if !known {
			d.report(path, key, "unknown key %q%s", key.Value, suggestion(key.Value, keysOf(to.Type())))
			return
		}
		d.decode(join(path, key.Value), value, to.Field(index))
	})
}

func (d *Document) decodeMap(path string, node *yaml.Node, to reflect.Value) {
	if node.Kind != yaml.MappingNode || to.Type().Key().Kind() != reflect.String {
		d.reject(path, node, "want keys with values, not %s", shown(node))
		return
	}
	to.Set(reflect.MakeMap(to.Type()))
	d.eachKey(path, node, func(key, value *yaml.Node) {
		element := reflect.New(to.Type().Elem()).Elem()
		d.decode(join(path, key.Value), value, element)
		to.SetMapIndex(reflect.ValueOf(key.Value).Convert(to.Type().Key()), element)
	})
}

// eachKey visits the first occurrence of each key and reports the others.
func (d *Document) eachKey(path string, node *yaml.Node, visit func(key, value *yaml.Node)) {
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := resolve(node.Content[i])
		if key.Kind != yaml.ScalarNode {
			d.report(path, key, "want a name as key, not %s", shown(key))
			continue
		}
		if line, seen := first[key.Value]; seen {
			d.report(path, key, "key %q is there twice (first in line %d)", key.Value, line)
			continue
		}
		first[key.Value] = key.Line
		visit(key, node.Content[i+1])
	}
}

func (d *Document) decodeList(path string, node *yaml.Node, to reflect.Value) {
	if node.Kind != yaml.SequenceNode {
		d.reject(path, node, "want a list, not %s", shown(node))
		return
	}
	to.Set(reflect.MakeSlice(to.Type(), len(node.Content), len(node.Content)))
	for i, element := range node.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		if isNull(resolve(element)) {
			d.reject(at, element, "the list has an empty entry")
			continue
		}
		d.decode(at, element, to.Index(i))
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// wanted names a type in the words of somebody who writes YAML.
func wanted(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration such as 90s or 10m"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "a whole number"
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		return "a number"
	default:
		return "one value"
	}
}

// shown quotes a value, or names its form.
func shown(node *yaml.Node) string {
	const most = 60 // runes: enough to recognise it
	if node.Kind == yaml.MappingNode {
		return "keys"
	}
	if node.Kind == yaml.SequenceNode {
		return "a list"
	}
	if runes := []rune(node.Value); len(runes) > most {
		return fmt.Sprintf("%q...", string(runes[:most]))
	}
	return fmt.Sprintf("%q", node.Value)
}
