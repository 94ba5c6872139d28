package bench

// Checkpoints are the figures of checkpoints of one clone and of reverts to them. Their names are the JSON's.
type Checkpoints struct {
	Schema     int        `json:"schema"`
	Bench      string     `json:"bench"` // checkpoint
	Image      string     `json:"image"`
	Start      string     `json:"start"` // how the clone came to life: warm or cold
	Runs       int        `json:"runs"`  // checkpoints, each with a revert to it
	Checkpoint Checkpoint `json:"checkpoint"`
	Revert     Revert     `json:"revert"`
	// TranslationCacheMiB is the bound of QEMU's cache of translated code; 0 where nothing is translated.
	TranslationCacheMiB int       `json:"translation_cache_mib,omitempty"`
	Accelerator         string    `json:"accelerator"`
	BusyCPUs            []float64 `json:"busy_cpus"` // of the host, before the clone
}

// Checkpoint are the figures of taking one. Its own seconds are until the guest went on.
type Checkpoint struct {
	*Seconds
	// First is what the first one holds of the host's disk, Later what each of the others does.
	First OnDisk `json:"first"`
	Later OnDisk `json:"later"`
}

// Revert are the figures of going back, seconds since that was asked for. Its own are until the domain ran again.
type Revert struct {
	*Seconds
	// Told is until the probe that waits in the guest had answered and set the clock; nil where none waits.
	Told    *Seconds `json:"told,omitempty"`
	Answer  *Seconds `json:"answer"` // until the guest answered over ssh
	Settled *Seconds `json:"settled"`
}

// OnDisk is what checkpoints hold of the host's disk.
type OnDisk struct {
	Memory *MiB `json:"memory,omitempty"` // with the state of devices
	Disk   *MiB `json:"disk,omitempty"`   // what was written since the checkpoint before
}

// CheckpointTimes gathers the values of one round after the other: seconds, and MiB.
type CheckpointTimes struct {
	Checkpoint, Revert, Told, Answer, Settled, Memory, Disk []float64
}

// Sum fills in the figures.
func (t CheckpointTimes) Sum(c *Checkpoints) {
	c.Runs = len(t.Checkpoint)
	first := min(1, c.Runs)
	c.Checkpoint = Checkpoint{
		Seconds: seconds(t.Checkpoint),
		First:   OnDisk{Memory: mebibytes(t.Memory[:first]), Disk: mebibytes(t.Disk[:first])},
		Later:   OnDisk{Memory: mebibytes(t.Memory[first:]), Disk: mebibytes(t.Disk[first:])},
	}
	c.Revert = Revert{Seconds: seconds(t.Revert), Told: seconds(t.Told), Answer: seconds(t.Answer), Settled: seconds(t.Settled)}
}
