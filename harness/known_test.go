package harness_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
)

func TestSweepTakesWhatNoRunHasAskedForForLong(t *testing.T) {
	t.Parallel()
	l := newWarmLab(t)
	l.run(scripted("openssl"))
	dir := harness.BaselineCache(filepath.Join(l.dir, "cache"))
	baselines, err := filepath.Glob(filepath.Join(dir, "*[0-9a-f]"))
	if err != nil || len(baselines) != 1 {
		t.Fatalf("baselines %q, error %v", baselines, err)
	}
	const day = 24 * time.Hour
	now := time.Now()
	old := filepath.Join(dir, ".files-1") // of a run that was killed
	for _, path := range []string{old, baselines[0], filepath.Join(dir, "x.lock")} {
		if err := os.WriteFile(path, read(t, path), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-100*day)); err != nil {
			t.Fatal(err)
		}
	}
	l.run(scripted("openssl")) // asks for the baseline
	for _, step := range []struct {
		now  time.Time
		want []string
	}{{now, []string{old}}, {now.Add(59 * day), nil}, {now.Add(61 * day), baselines}} {
		removed, err := harness.SweepBaselines(dir, step.now)
		if diff := cmp.Diff(step.want, removed); diff != "" || err != nil {
			t.Errorf("after %s: error %v, removed (-want +got):\n%s", step.now.Sub(now), err, diff)
		}
	}
}

// read returns what a file holds, nothing if it is not there.
func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return content
}
