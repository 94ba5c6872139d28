package scenarios_test

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/scenarios"
)

func TestEveryBuiltInScenarioIsValidAndSaysItsTruth(t *testing.T) {
	t.Parallel()
	for _, name := range scenarios.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := scenarios.Extract(name, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			s, err := scenario.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != path.Base(name) || s.Description == "" || s.Truth == nil {
				t.Errorf("name is %q, description %q, truth %v", s.Name, s.Description, s.Truth)
			}
		})
	}
}

func TestEveryBuiltInScenarioIsDocumentedWithItsTruth(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/scenarios.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) == 5 {
			rows[strings.Trim(cells[1], " `")] = cells[3]
		}
	}
	for _, name := range scenarios.Names() {
		file, err := scenarios.Extract(name, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenario.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range append([]string{s.Truth.Outcome}, s.Truth.Findings...) {
			if !strings.Contains(rows[name], word) {
				t.Errorf("the table says of %s %q, which leaves out %s", name, rows[name], word)
			}
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"openssl-nginx", "zoo/service-disabled"} {
		if !slices.Contains(scenarios.Names(), want) {
			t.Errorf("%s is not among %v", want, scenarios.Names())
		}
	}
}

func TestExtractRefusesOtherNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "nginx", "../scenarios", "zoo", "zoo/service-disabled/apply.sh"} {
		if file, err := scenarios.Extract(name, t.TempDir()); err == nil {
			t.Errorf("%q gave %s", name, file)
		}
	}
}
