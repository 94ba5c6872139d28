package bench_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/bench"
)

func TestEachCallIsOneFigure(t *testing.T) {
	t.Parallel()
	calls := filepath.Join(t.TempDir(), "calls")
	got, err := bench.Call(t.Context(), 3, "/bin/sh", "-c", `echo "$0" >>`+calls, "list")
	if err != nil || got == nil || got.Min <= 0 || got.Median < got.Min || got.Max < got.Median {
		t.Errorf("%+v, %v", got, err)
	}
	if text, err := os.ReadFile(calls); err != nil || string(text) != strings.Repeat("list\n", 4) {
		t.Errorf("called %q, %v; want three times and once before", text, err)
	}
	if _, err := bench.Call(t.Context(), 1, "/bin/sh", "-c", "echo it is damaged; exit 1"); err == nil || !strings.Contains(err.Error(), "it is damaged") {
		t.Errorf("got %v", err)
	}
}
