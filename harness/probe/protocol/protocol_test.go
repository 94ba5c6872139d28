package protocol_test

import (
	"testing"

	"github.com/patchlab/patchlab/harness/probe/protocol"
)

func TestAGuestIsQuietWhenItRunsWithoutJobs(t *testing.T) {
	job := []protocol.Job{{Unit: "nginx.service", Type: "start", State: "running"}}
	for _, c := range []struct {
		settled protocol.Settled
		want    bool
	}{
		{protocol.Settled{State: "running"}, true},
		{protocol.Settled{State: "degraded", Failed: []string{"a.service"}}, true},
		{protocol.Settled{State: "running", Jobs: job}, false},
		{protocol.Settled{State: "starting"}, false},
		{protocol.Settled{State: "maintenance"}, false},
		{protocol.Settled{}, false},
	} {
		if got := c.settled.Quiet(); got != c.want {
			t.Errorf("%+v: Quiet() = %v, want %v", c.settled, got, c.want)
		}
	}
}
