package accel

import "testing"

func TestAGuestsShareOfABusyHost(t *testing.T) {
	for loadavg, want := range map[string]float64{
		"0.06 0.25 0.77 1/312 4711\n":     1,
		"2.00 1.50 1.00 3/312 4711\n":     1,
		"10.00 9.00 8.00 12/312 4711\n":   0.2,
		"":                                1,
		"nothing that anybody can read\n": 1,
	} {
		if got := share(loadavg, 2); got != want {
			t.Errorf("%q: %v of two processors, want %v", loadavg, got, want)
		}
	}
	if got := Share(); got <= 0 || got > 1 {
		t.Errorf("this host gives %v", got)
	}
}
