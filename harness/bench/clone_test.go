package bench

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSharedMemoryIsDivided(t *testing.T) {
	t.Parallel()
	const rollup = `55d0c0a00000-7ffd2b3fe000 ---p 00000000 00:00 0                          [rollup]
Rss:              409600 kB
Pss:              153600 kB
Pss_Anon:         102400 kB
Shared_Clean:     102400 kB
Private_Clean:      1024 kB
Private_Dirty:    101376 kB
`
	if got, err := parseRollup(rollup); err != nil || got != (Held{Pss: 150, Private: 100}) {
		t.Errorf("%+v, %v; want 150 and 100 MiB", got, err)
	}
	for _, text := range []string{"", "Rss: 1 kB\n", "Pss: x kB\n", "Pss: 1 kB\nPrivate_Clean: 1 kB\n"} {
		if _, err := parseRollup(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	if _, err := DomainMemory("nobody-runs-this"); !errors.Is(err, ErrNoProcess) {
		t.Errorf("got %v", err)
	}
}

func TestAMachineIsFoundByItsCommandLine(t *testing.T) {
	t.Parallel()
	const domain = "bench-test-of-a-domain"
	// It says when it is there, and waits until its stdin ends.
	machine := exec.CommandContext(t.Context(), "sh", "-c", "echo; read end", "qemu", "-name", "guest="+domain+",debug-threads=on")
	stdin, err := machine.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := machine.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()  // it ends
		_ = machine.Wait() // with whatever read thinks of that
	}()
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if held, err := DomainMemory(domain); err != nil || held.Pss <= 0 || held.Private > held.Pss {
		t.Errorf("it holds %+v, %v", held, err)
	}
	words, err := CommandLine(domain, "debug-threads")
	if err != nil || !slices.Contains(words, "-name") {
		t.Errorf("it was called %q, %v", words, err)
	}
	if _, err := CommandLine(domain, "of another kind"); !errors.Is(err, ErrNoProcess) {
		t.Errorf("a part that it has not: %v", err)
	}
}

// TestTheNamesOfClonesStay is about what programs read: names are added, never changed.
func TestTheNamesOfClonesStay(t *testing.T) {
	t.Parallel()
	clone := CloneTimes{Answer: []float64{5, 3, 4}, Settled: []float64{6}, First: []float64{2}}.Sum()
	clone.Idle = SumMemory(4, time.Minute, []Held{{150, 120}, {152, 121}, {151, 122}})
	got, err := json.Marshal(Clones{Schema: 1, Bench: "clone", Image: "web", Runs: 3, Clone: CloneKinds{Warm: clone}, BusyCPUs: []float64{0.1}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"schema":1,"bench":"clone","image":"web","runs":3,"clone":{"warm":{"min_s":6,"median_s":6,"max_s":6,` +
		`"running":null,"answer":{"min_s":3,"median_s":4,"max_s":5},"first_capture":{"min_s":2,"median_s":2,"max_s":2},` +
		`"later_captures":null,"memory_idle":{"clones":4,"idle_s":60,"pss":{"min_mib":150,"median_mib":151,"max_mib":152},` +
		`"private":{"min_mib":120,"median_mib":121,"max_mib":122}}}},"accelerator":"","busy_cpus":[0.1]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}
