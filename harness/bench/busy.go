package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/wait"
)

// Busy looks for a few seconds how many CPUs of this host are busy: 0 on one that does nothing. The load average will not do, for
// it remembers for a minute what the measured side before has done.
func Busy(ctx context.Context) (float64, error) {
	const span = 3 * time.Second
	var before, after usage
	looks := 0
	err := wait.Until(ctx, "a look at how busy the host is", span, func(context.Context) (done bool, err error) {
		before = after
		after, err = hostUsage()
		looks++
		return looks == 2, err
	})
	if err != nil {
		return 0, fmt.Errorf("looking how busy the host is: %w", err)
	}
	return after.since(before), nil
}

// hostUsage looks now.
func hostUsage() (usage, error) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return usage{}, err
	}
	return parseUsage(string(content))
}

// usage is what the host's CPUs have done since it started, in ticks of the kernel's clock.
type usage struct {
	busy, all float64
	cpus      int
}

// since returns how many CPUs were busy on average.
func (u usage) since(before usage) float64 {
	if u.all <= before.all {
		return 0
	}
	return (u.busy - before.busy) / (u.all - before.all) * float64(u.cpus)
}

// parseUsage reads /proc/stat, see proc(5).
func parseUsage(text string) (usage, error) {
	var u usage
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || !strings.HasPrefix(fields[0], "cpu"):
		case fields[0] != "cpu":
			u.cpus++
		default:
			const idle, ioWait, counted = 3, 4, 8 // guests' time is in user's already
			for i, field := range fields[1:min(len(fields), 1+counted)] {
				ticks, err := strconv.ParseFloat(field, 64)
				if err != nil {
					return usage{}, fmt.Errorf("reading /proc/stat: %w", err)
				}
				u.all += ticks
				if i != idle && i != ioWait {
					u.busy += ticks
				}
			}
		}
	}
	if u.cpus == 0 || u.all == 0 {
		return usage{}, fmt.Errorf("reading /proc/stat: no CPU in it")
	}
	return u, nil
}
