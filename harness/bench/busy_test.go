package bench

import "testing"

func TestBusyCPUs(t *testing.T) {
	t.Parallel()
	// user nice system idle iowait irq softirq steal guest guest_nice
	before, err := parseUsage("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 17\n")
	if err != nil {
		t.Fatal(err)
	}
	after, err := parseUsage("cpu  150 0 120 1010 110 0 5 5 90 0\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 18\n")
	if err != nil {
		t.Fatal(err)
	}
	// 50 + 20 + 5 + 5 of 400 ticks, on two CPUs; what guests did is in the first already.
	if got := after.since(before); got != 0.4 {
		t.Errorf("%v CPUs are busy, want 0.4", got)
	}
	if got := before.since(before); got != 0 {
		t.Errorf("%v CPUs are busy in no time", got)
	}
	for _, text := range []string{"", "cpu x 1 2 3\ncpu0 1\n", "intr 3\n"} {
		if _, err := parseUsage(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
