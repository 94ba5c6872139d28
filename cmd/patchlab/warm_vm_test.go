//go:build vmtest

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/report"
)

// warmCases names zoo cases to take, separated by blanks or commas, in place of all.
const warmCases = "PATCHLAB_WARM_CASES"

// answer is what a run says about a candidate, without what differs from one run to the next.
type answer struct {
	Outcome    string
	Findings   []string // ids, sorted
	Guilty     []string
	TruthHolds bool
}

// TestTheZooSaysTheSameWarmAndCold is about clones that go on from a template: nothing that is said of a patch may depend on it.
// Each case runs twice, one run after the other: from the template, and with clones that are booted. It needs the cases' images
// in PATCHLAB_IMAGES_DIR, or where patchlab keeps them, and takes some four minutes a case without KVM.
func TestTheZooSaysTheSameWarmAndCold(t *testing.T) {
	program := filepath.Join(t.TempDir(), "patchlab")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, name := range askedCases(t) {
		t.Run(name, func(t *testing.T) {
			warm := runCase(t, program, "warm", name)
			cold := runCase(t, program, "cold", name, "--cold")
			if diff := cmp.Diff(cold, warm); diff != "" {
				t.Errorf("not the same (-cold +warm):\n%s", diff)
			}
			if !warm.TruthHolds {
				t.Errorf("the truth does not hold: %+v", warm)
			}
		})
	}
}

// askedCases returns the cases that are asked for: an unknown one is a mistake, and no case at all is none.
func askedCases(t *testing.T) []string {
	t.Helper()
	all := zooCases()
	asked := strings.FieldsFunc(os.Getenv(warmCases), func(r rune) bool { return r == ' ' || r == ',' })
	if len(asked) == 0 {
		return all
	}
	for i, name := range asked {
		if asked[i] = strings.TrimPrefix(name, zooDir); !slices.Contains(all, asked[i]) {
			t.Fatalf("%s: no case %s (have %s)", warmCases, name, strings.Join(all, ", "))
		}
	}
	return asked
}

// runCase runs a case, whose clones have to start as they are said to.
func runCase(t *testing.T, program, start, name string, flags ...string) answer {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), program, append([]string{"run", "--output", "json", scenarioOfCase(name)}, flags...)...)
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	t.Logf("%s, %s:\n%s", name, start, stderr.String())
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var result report.Result
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		t.Fatalf("reading the result: %v\n%s", err, stdout.String())
	}
	if result.Clones.Start != start {
		t.Fatalf("clones started %s: %s (evidence: %s)", result.Clones.Start, result.Clones.Why, result.RunDir)
	}
	got := answer{Outcome: string(result.Outcome), Guilty: result.Guilty}
	for _, f := range result.Findings {
		got.Findings = append(got.Findings, f.ID)
	}
	slices.Sort(got.Findings)
	if result.Truth != nil {
		got.TruthHolds = result.Truth.Holds
	}
	t.Logf("%s, %s: %+v (evidence: %s)", name, start, got, result.RunDir)
	return got
}
