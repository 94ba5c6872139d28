package bench

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// Start is how long the program itself takes when it has next to nothing to do.
type Start struct {
	Schema int        `json:"schema"`
	Bench  string     `json:"bench"` // start
	Runs   int        `json:"runs"`  // of each command
	Start  StartKinds `json:"start"`
	// BusyCPUs is how much of the host other work took before.
	BusyCPUs []float64 `json:"busy_cpus"`
}

// StartKinds are the commands that are called.
type StartKinds struct {
	Help      *Milliseconds `json:"help"`       // --help
	ImageList *Milliseconds `json:"image_list"` // image list
}

// Milliseconds are [Figures] of short times; their names in JSON say so.
type Milliseconds struct {
	Min    float64 `json:"min_ms"`
	Median float64 `json:"median_ms"`
	Max    float64 `json:"max_ms"`
}

// Call calls a program several times, one after the other, and returns how long that took. A call before the first is not
// counted: it brings the program into the host's memory.
func Call(ctx context.Context, runs int, program string, arguments ...string) (*Milliseconds, error) {
	var times []float64
	for i := range runs + 1 {
		began := time.Now()
		if output, err := exec.CommandContext(ctx, program, arguments...).CombinedOutput(); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, fmt.Errorf("calling patchlab %v: %w: %s", arguments, err, complaint(string(output)))
		}
		if i > 0 {
			times = append(times, time.Since(began).Seconds()*1000)
		}
	}
	return (*Milliseconds)(figures(times)), nil
}
