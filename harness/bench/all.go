package bench

import "slices"

// All are the figures of every bench. Each part is as its own bench has it, without what it was measured under.
type All struct {
	Schema      int          `json:"schema"`
	Bench       string       `json:"bench"` // all
	Runs        int          `json:"runs"`
	Start       StartKinds   `json:"start"`
	Clone       CloneKinds   `json:"clone"`
	Checkpoint  Checkpoint   `json:"checkpoint"`
	Revert      Revert       `json:"revert"`
	Parallel    ParallelWays `json:"parallel"`
	Throughput  *Figures     `json:"throughput"`
	Image       ImageStages  `json:"image"`
	Overhead    *Overhead    `json:"overhead,omitempty"`    // against the same by hand, or
	Autopkgtest *Against     `json:"autopkgtest,omitempty"` // against autopkgtest; one of the two
	// TranslationCacheMiB is the bound of QEMU's cache of translated code; 0 where nothing is translated.
	TranslationCacheMiB int       `json:"translation_cache_mib,omitempty"`
	Accelerator         string    `json:"accelerator"`
	BusyCPUs            []float64 `json:"busy_cpus"` // of the host, before each measurement
}

// Take takes the figures of the benches that are always made.
func (a *All) Take(start Start, clones Clones, checkpoints Checkpoints, parallel Parallel, images Images) {
	a.Start, a.Clone, a.Image = start.Start, clones.Clone, images.Image
	a.Checkpoint, a.Revert = checkpoints.Checkpoint, checkpoints.Revert
	a.Parallel, a.Throughput = parallel.Parallel, parallel.Throughput
	a.TranslationCacheMiB, a.Accelerator = clones.TranslationCacheMiB, clones.Accelerator
	a.BusyCPUs = slices.Concat(start.BusyCPUs, clones.BusyCPUs, checkpoints.BusyCPUs, parallel.BusyCPUs, images.BusyCPUs)
}
