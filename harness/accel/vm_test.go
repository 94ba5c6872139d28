//go:build vmtest

package accel

import (
	"testing"
)

func TestMeasureOnThisHost(t *testing.T) {
	t.Parallel()
	opts := Options{CacheDir: t.TempDir()}
	first, err := Measure(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", first)
	if first.TCG <= 0 || first.Best == "" || first.Reason == "" || first.Slowness < 1 {
		t.Errorf("the report has holes: %+v", first)
	}
	second, err := Measure(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Cached {
		t.Error("it was measured again")
	}
}
