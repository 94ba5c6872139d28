package strictyaml_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/strictyaml"
)

type colour string

func (c *colour) UnmarshalText(text []byte) error {
	if string(text) != "red" && string(text) != "blue" {
		return fmt.Errorf("unknown colour %q (have red, blue)", text)
	}
	*c = colour(text)
	return nil
}

type wheel struct {
	Spokes int    `yaml:"spokes"`
	Colour colour `yaml:"colour"`
}

type bicycle struct {
	Name    string         `yaml:"name"`
	Wheels  []wheel        `yaml:"wheels"`
	Bell    *bool          `yaml:"bell"`
	Service time.Duration  `yaml:"service"`
	Front   *wheel         `yaml:"front"`
	Notes   []string       `yaml:"notes"`
	Parts   map[string]int `yaml:"parts"`
	Weight  float64        `yaml:"weight"`
	Secret  string         `yaml:"-"`
}

func TestDecodeReadsAWholeFile(t *testing.T) {
	t.Parallel()
	const file = `# my bicycle
name: &name Rover
wheels:
  - {spokes: 36, colour: red}
  - spokes: 32
bell: false
service: 90m
front:
notes: []
parts: {screws: 12}
weight: 11.5
`
	var got bicycle
	doc, problems := strictyaml.Decode("b.yaml", []byte(file), &got)
	if problems.Err() != nil || doc.Err() != nil {
		t.Fatalf("problems in a good file: %v", problems)
	}
	no := false
	want := bicycle{
		Name: "Rover", Wheels: []wheel{{36, "red"}, {32, ""}}, Bell: &no, Service: 90 * time.Minute,
		Notes: []string{}, Parts: map[string]int{"screws": 12}, Weight: 11.5,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoded value (-want +got):\n%s", diff)
	}
}

func TestDecodeReportsAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ file, want string }{
		"unknown keys, duplicates and bad values together": {
			"naem: Rover\nwheels:\n  - {spokes: many, colour: green}\n  - spokes: 1\n    spokes: 2\nbell: perhaps\nservice: 10 s\n" +
				"front: round\nnotes: one\nparts: {a: b}\nSecret: x\nweight: light\n",
			`b.yaml:1:1: unknown key "naem" (did you mean "name"? have bell, front, name, notes, parts, service, weight, wheels)
b.yaml:3:14: wheels[0].spokes: want a whole number, not "many"
b.yaml:3:28: wheels[0].colour: unknown colour "green" (have red, blue)
b.yaml:5:5: wheels[1]: key "spokes" is there twice (first in line 4)
b.yaml:6:7: bell: want true or false, not "perhaps"
b.yaml:7:10: service: want a duration such as 90s or 10m, not "10 s"
b.yaml:8:8: front: want keys (colour, spokes), not "round"
b.yaml:9:8: notes: want a list, not "one"
b.yaml:10:12: parts.a: want a whole number, not "b"
b.yaml:11:1: unknown key "Secret" (have bell, front, name, notes, parts, service, weight, wheels)
b.yaml:12:9: weight: want a number, not "light"`,
		},
		"lists and keys where one value is wanted": {
			"name: [a]\nwheels: [{colour: {a: b}}, ~]\n? [x]\n: y\n",
			`b.yaml:1:7: name: want one value, not a list
b.yaml:2:19: wheels[0].colour: want one value, not keys
b.yaml:2:28: wheels[1]: the list has an empty entry
b.yaml:3:3: want a name as key, not a list`,
		},
		"an empty file":        {"", "b.yaml:1:1: the file is empty"},
		"nothing but comments": {"# later\n---\n", "b.yaml:1:1: the file is empty"},
		"a second document":    {"name: a\n---\nname: b\n", "b.yaml:2:1: a second document starts here: a file holds one"},
		"a list as document": {
			"- name: a\n",
			"b.yaml:1:1: want keys (bell, front, name, notes, parts, service, weight, wheels), not a list",
		},
		"a tab": {
			"wheels:\n\t- spokes: 1\n",
			"b.yaml:2:1: not YAML: while scanning for the next token: found character that cannot start any token " +
				"(indent with spaces: YAML knows no tabs)",
		},
		"an open bracket": {
			"notes: [a\nname: b\n",
			"b.yaml:2:5: not YAML: while parsing a flow sequence: did not find expected ',' or ']'",
		},
		"a file that is too large": {"#" + strings.Repeat("x", strictyaml.MaxSize), "b.yaml: the file is larger than 1 MiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var into bicycle
			_, problems := strictyaml.Decode("b.yaml", []byte(test.file), &into)
			if diff := cmp.Diff(test.want, problems.Error()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProblemfFindsThePlace(t *testing.T) {
	t.Parallel()
	var into bicycle
	doc, _ := strictyaml.Decode("b.yaml", []byte("name: Rover\nwheels:\n  - spokes: x\n  - spokes: 3\n"), &into)
	doc.Problemf("wheels[1].colour", "is missing")
	doc.Problemf("wheels[1].spokes", "3 are too few")
	doc.Problemf("wheels[0].spokes", "is said already: this line must not appear")
	doc.Problemf("front.colour", "is missing")
	doc.Problemf("", "no brake")
	want := `b.yaml:1:1: front.colour: is missing
b.yaml:1:1: no brake
b.yaml:3:13: wheels[0].spokes: want a whole number, not "x"
b.yaml:4:5: wheels[1].colour: is missing
b.yaml:4:13: wheels[1].spokes: 3 are too few`
	if diff := cmp.Diff(want, doc.Err().Error()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if !doc.Has("name") || doc.Has("bell") {
		t.Error("Has does not tell what the file holds")
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"packages", "suite", "mode"}
	for word, want := range map[string]string{
		"pakages": "packages", "Suite": "suite", "suiet": "suite", "mod": "mode", "colour": "", "x": "",
	} {
		if got, _ := strictyaml.Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("name: a\nwheels: [{spokes: 1}]\n"))
	f.Add([]byte("a: &a [*a]\nwheels: *a\n<<: *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var into bicycle
		doc, problems := strictyaml.Decode("f.yaml", data, &into)
		if doc == nil && len(problems) == 0 {
			t.Error("neither a document nor a problem")
		}
		for _, p := range problems {
			if strings.ContainsAny(p.Text, "\x1b\n") {
				t.Errorf("problem is not one clean line: %q", p.Text)
			}
		}
	})
}
