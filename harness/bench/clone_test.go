package bench

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSharedMemoryIsCountedOnce(t *testing.T) {
	t.Parallel()
	const rollup = `55d0c0a00000-7ffd2b3fe000 ---p 00000000 00:00 0                          [rollup]
Rss:              409600 kB
Pss:              153600 kB
Pss_Anon:         102400 kB
`
	if got, err := parsePss(rollup); err != nil || got != 150 {
		t.Errorf("%v MiB, %v; want 150", got, err)
	}
	for _, text := range []string{"", "Rss: 1 kB\n", "Pss: x kB\n"} {
		if _, err := parsePss(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	if _, err := DomainMemory("nobody-runs-this"); !errors.Is(err, ErrNoProcess) {
		t.Errorf("got %v", err)
	}
}

func TestTheFiguresOfClones(t *testing.T) {
	t.Parallel()
	got := CloneTimes{Answer: []float64{5, 3, 4}, Memory: []float64{150}}.Sum()
	want := Clone{Answer: &Figures{Min: 3, Median: 4, Max: 5}, Memory: &Figures{Min: 150, Median: 150, Max: 150}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
