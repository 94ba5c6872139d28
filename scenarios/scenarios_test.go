package scenarios_test

import (
	"path"
	"slices"
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
