package audit

import "testing"

func TestReleasesAreOrderedAsPeopleDo(t *testing.T) {
	t.Parallel()
	ordered := []string{
		"0-rescue-5f", "5.10.0-28-amd64", "6.1.0-9-amd64", "6.1.0-50-amd64", "6.1.0-50-amd64-x", "6.12~rc1-amd64", "6.12-amd64", "6.12.107+deb13-amd64", "99.0.0-patched",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			got := compareReleases(a, b)
			if got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%s and %s: %d", a, b, got)
			}
		}
	}
}
