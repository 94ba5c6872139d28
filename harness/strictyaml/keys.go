package strictyaml

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// fieldsOf maps the keys of a struct to its fields.
func fieldsOf(t reflect.Type) map[string]int {
	fields := map[string]int{}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		switch {
		case !field.IsExported() || name == "-":
		case name == "":
			fields[strings.ToLower(field.Name)] = i
		default:
			fields[name] = i
		}
	}
	return fields
}

func keysOf(t reflect.Type) []string { return slices.Sorted(maps.Keys(fieldsOf(t))) }

// suggestion says which key was meant, if one is near, and which there are.
func suggestion(key string, known []string) string {
	have := "have " + strings.Join(known, ", ")
	if near, ok := Nearest(key, known); ok {
		return fmt.Sprintf(" (did you mean %q? %s)", near, have)
	}
	return " (" + have + ")"
}

// Nearest returns the known word that the given one was probably meant to be.
func Nearest(word string, known []string) (string, bool) {
	nearest, least := "", max(1, len(word)/3)+1
	for _, candidate := range known {
		if distance := editDistance(strings.ToLower(word), candidate); distance < least && distance < len(word) {
			nearest, least = candidate, distance
		}
	}
	return nearest, nearest != ""
}

// editDistance counts the letters to insert, delete or replace, with neighbours swapped as one edit.
func editDistance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
