package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/patchlab/patchlab/docs/schema"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

var update = flag.Bool("update", false, "write the schemas")

// source is a kind of file: its Go type, and where that is declared.
type source struct {
	title string
	value any
	dir   string
}

var sources = map[string]source{
	"scenario": {"a scenario of patchlab", scenario.Scenario{}, "../../harness/scenario"},
	"image":    {"an image manifest of patchlab", manifest.Manifest{}, "../../harness/image/manifest"},
}

func texts[T ~string](values ...T) []any {
	var all []any
	for _, v := range values {
		all = append(all, string(v))
	}
	return all
}

func findings() []any {
	var ids []any
	for _, e := range verdict.Catalogue() {
		ids = append(ids, e.ID)
	}
	return ids
}

// enumerations are the values of fields that take no others, by TYPE.KEY.
func enumerations() map[string][]any {
	return map[string][]any{
		"Scenario.restart":   texts(scenario.RestartAdvised, scenario.RestartNone, scenario.RestartAll),
		"Scenario.rescue":    texts(scenario.RescueAuto, scenario.RescueNever),
		"Scenario.reboot":    texts(scenario.RebootClean, scenario.RebootPowerCut, scenario.RebootPanic),
		"Scenario.conffiles": texts(scenario.ConffilesKeep, scenario.ConffilesReplace, scenario.ConffilesAsk),
		"APT.mode":           texts("upgrade", "with-new-pkgs", "full-upgrade"),
		"Increment.rpm":      texts(scenario.RPMUpgrade, scenario.RPMInstall),
		"Allowance.kind":     texts(fact.Kinds()...),
		"Allowance.change":   texts("added", "removed", "changed"),
		"Truth.outcome":      texts(verdict.Pass, verdict.Regression, verdict.ApplyFailed, verdict.BootFailed),
		"Truth.findings":     findings(),
		"Manifest.pockets":   texts(manifest.Pockets()...),
		"Manifest.release":   texts(manifest.Releases()...),
		"Manifest.firmware":  texts(hypervisor.BIOS, hypervisor.EFI),
	}
}

// required are the keys without which a file is refused, by type.
var required = map[string][]string{
	"Scenario":  {"schema", "name", "image", "increments"},
	"Manifest":  {"schema", "name"},
	"File":      {"from", "to"},
	"APT":       {"suite"},
	"HTTP":      {"url"},
	"Command":   {"run"},
	"Content":   {"path", "contains"},
	"Allowance": {"kind", "name", "reason", "owner", "until"},
	"Truth":     {"outcome"},
}

// generate makes the schema of a kind of file from its Go type, with the fields' comments.
func generate(t *testing.T, s source) []byte {
	t.Helper()
	comments := commentsOf(t, s.dir)
	reflector := jsonschema.Reflector{
		FieldNameTag: "yaml", Anonymous: true, ExpandedStruct: true, RequiredFromJSONSchemaTags: true,
		Mapper: func(of reflect.Type) *jsonschema.Schema {
			switch of {
			case reflect.TypeFor[time.Duration]():
				return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`}
			case reflect.TypeFor[scenario.Date]():
				return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`}
			case reflect.TypeFor[manifest.Size]():
				return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+(MiB|GiB)$`}
			}
			return nil
		},
		LookupComment: func(of reflect.Type, field string) string {
			return comments[strings.TrimSuffix(of.Name()+"."+field, ".")]
		},
	}
	made := reflector.Reflect(s.value)
	made.Title = s.title
	root := reflect.TypeOf(s.value).Name()
	finish(root, made)
	for name, definition := range made.Definitions {
		finish(name, definition)
	}
	content, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(content, '\n')
}

// finish adds what Go types do not say: which values there are, and which keys there must be.
func finish(name string, s *jsonschema.Schema) {
	s.Required = required[name]
	values := enumerations()
	if s.Properties == nil {
		return
	}
	for key, property := range s.Properties.FromOldest() {
		of := property
		if of.Items != nil {
			of = of.Items
		}
		if enum, has := values[name+"."+key]; has {
			of.Enum = enum
		}
		switch name + "." + key {
		case "Scenario.schema", "Manifest.schema":
			of.Const = 1
		case "Scenario.suites":
			of.AnyOf = []*jsonschema.Schema{{Enum: texts(scenario.Suites()...)}, {Pattern: "/"}}
		case "File.mode": // without quotes YAML reads a number, which patchlab takes for what was written
			of.Type, of.AnyOf = "", []*jsonschema.Schema{{Type: "string", Pattern: "^0?[0-7]{3,4}$"}, {Type: "integer"}}
		case "Scenario.increments":
			least := uint64(1)
			property.MinItems = &least
		}
	}
	if name == "Manifest" { // what it is made of may come from its base
		s.AnyOf = []*jsonschema.Schema{{Required: []string{"base"}}, {Required: []string{"distribution", "release"}}}
	}
	if name == "Expect" {
		one := uint64(1)
		s.MinProperties, s.MaxProperties = &one, &one
	}
}

// commentsOf reads what the fields' comments say, by TYPE.FIELD, and the types' by TYPE.
func commentsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	comments := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources in %s: %v", dir, err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			declared, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			fields, ok := declared.Type.(*ast.StructType)
			if !ok {
				return false
			}
			for _, field := range fields.Fields.List {
				text := field.Doc.Text() + field.Comment.Text()
				for _, name := range field.Names {
					comments[declared.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
				}
			}
			return false
		})
	}
	return comments
}

// The schemas are made from the types, so that the two never differ.
func TestTheSchemasAreThoseOfTheTypes(t *testing.T) {
	t.Parallel()
	for _, name := range schema.Names() {
		want := generate(t, sources[name])
		if *update {
			if err := os.WriteFile(name+".json", want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := schema.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s.json differs from the types: run `go test ./docs/schema -update` (-want +got):\n%s", name, diff)
		}
	}
}

// compiled is a schema that files can be held against.
func compiled(t *testing.T, name string) *validator.Schema {
	t.Helper()
	content, err := schema.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	document, err := validator.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	compiler := validator.NewCompiler()
	if err := compiler.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate holds a file against a schema, by its JSON form: in YAML a day without quotes is a time.
func validate(t *testing.T, s *validator.Schema, content []byte) error {
	t.Helper()
	var decoded any
	if err := yaml.Load(content, &decoded); err != nil {
		t.Fatal(err)
	}
	return s.Validate(plain(decoded))
}

// plain makes what JSON has of what YAML reads.
func plain(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = plain(v[key])
		}
		return v
	case map[any]any:
		made := map[string]any{}
		for key, element := range v {
			made[fmt.Sprint(key)] = plain(element)
		}
		return made
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
		return v
	case time.Time:
		return v.Format(time.DateOnly)
	default:
		return v
	}
}

func TestEveryFileThatComesWithPatchlabIsValid(t *testing.T) {
	t.Parallel()
	for name, patterns := range map[string][]string{
		"scenario": {"../../scenarios/*.yaml", "../../scenarios/zoo/*.yaml", "../../harness/scenario/testdata/good/*.yaml", "../examples/*.yaml"},
		"image":    {"../../images/*.yaml"},
	} {
		s := compiled(t, name)
		for _, pattern := range patterns {
			files, err := filepath.Glob(pattern)
			if err != nil || len(files) == 0 {
				t.Fatalf("no files at %s: %v", pattern, err)
			}
			for _, file := range files {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := validate(t, s, content); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
		}
	}
}

func TestTypingMistakesAreNotValid(t *testing.T) {
	t.Parallel()
	const good = "schema: 1\nname: a\nimage: debian-12-web\nincrements: [{name: a, script: x.sh}]\n"
	s := compiled(t, "scenario")
	if err := validate(t, s, []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{
		good + "rebot: [clean]\n", good + "reboot: [twice]\n", good + "restart: some\n", good + "suites: [servces]\n",
		good + "expect: [{service: a, port: tcp/80}]\n", good + "allow: [{kind: port, name: x}]\n", good + "timeouts: {boot: soon}\n",
		strings.Replace(good, "schema: 1", "schema: 2", 1), strings.Replace(good, "image: debian-12-web\n", "", 1),
		good + "truth: {outcome: regression, findings: [PL999]}\n",
	} {
		if validate(t, s, []byte(wrong)) == nil {
			t.Errorf("it is valid:\n%s", wrong)
		}
	}
}

// Each key that the types have is in the schema, at any depth.
func TestNoKeyIsMissing(t *testing.T) {
	t.Parallel()
	for name, s := range sources {
		content, err := schema.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys(reflect.TypeOf(s.value), nil) {
			if !strings.Contains(string(content), `"`+key+`": {`) && !strings.Contains(string(content), `"`+key+`": true`) {
				t.Errorf("%s.json has no key %q", name, key)
			}
		}
	}
}

func keys(of reflect.Type, seen []reflect.Type) []string {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || slices.Contains(seen, of) || of == reflect.TypeFor[scenario.Date]() {
		return nil
	}
	var all []string
	for field := range of.Fields() {
		if tag := field.Tag.Get("yaml"); tag != "" && tag != "-" {
			all = append(append(all, tag), keys(field.Type, append(seen, of))...)
		}
	}
	return all
}
