package bench

import "github.com/patchlab/patchlab/harness/report"

// PeerRound is one run and the same steps by another program, one after the other.
type PeerRound struct {
	Run  report.Result
	Wall float64 // seconds of the run from its call to its return
	Peer []Time
	// RunQEMU and PeerQEMU are the command lines of the machines.
	RunQEMU, PeerQEMU []string
	// Busy is how many CPUs other work kept busy before either side.
	Busy [2]float64
}

// Against is the result of a comparison with another program.
type Against struct {
	Schema   int          `json:"schema"`
	Bench    string       `json:"bench"`   // overhead
	Against  string       `json:"against"` // autopkgtest
	Scenario string       `json:"scenario"`
	Image    report.Image `json:"image"`
	Host     report.Host  `json:"host"`
	Runs     int          `json:"runs"` // of either side
	Patchlab Side         `json:"patchlab"`
	Peer     Side         `json:"autopkgtest"`
	// ColdBoot is how long a clone of the same image took from nothing until it answered over ssh, when it was booted.
	ColdBoot *Seconds `json:"cold_boot"`
	// Goal is the peer's median less 0.7 of a cold boot.
	Goal float64 `json:"goal_s"`
	// Reached tells whether patchlab's median is not above the goal.
	Reached bool `json:"reached"`
	// TranslationCacheMiB is the bound of QEMU's tb-cache on both sides; 0 with KVM, which has none.
	TranslationCacheMiB int `json:"translation_cache_mib"`
	// BusyCPUs is how much of the host other work took before each side, in turn.
	BusyCPUs []float64 `json:"busy_cpus"`
	RunDirs  []string  `json:"run_dirs"` // evidence of both sides
}

// Side is what one program took. Its own seconds are those of all that it did.
type Side struct {
	*Seconds
	Version string   `json:"version"`
	Steps   []Step   `json:"steps"`
	QEMU    []string `json:"qemu"` // the command line of its machine, the last time
}

// Step is one step of a side.
type Step struct {
	Step      string `json:"step"`
	Increment string `json:"increment,omitempty"`
	*Seconds
}

// ofColdBoot is how much of a cold boot patchlab is to be better than a program that boots, for it goes on from a saved guest.
const ofColdBoot = 0.7

// CompareWith sums up rounds. The versions and the translation cache are for the caller to fill in.
func CompareWith(peer string, rounds []PeerRound, coldBoots []float64) Against {
	a := Against{
		Schema: Schema, Bench: "overhead", Against: peer, Runs: len(rounds), ColdBoot: seconds(coldBoots), BusyCPUs: []float64{}, RunDirs: []string{},
	}
	var ours, theirs table
	var wall, peers []float64
	for _, r := range rounds {
		a.Scenario, a.Image, a.Host = r.Run.Scenario, r.Run.Image, r.Run.Host
		a.Patchlab.QEMU, a.Peer.QEMU = r.RunQEMU, r.PeerQEMU
		side := split(r.Run, r.Wall)
		ours.add(append(side.steps, side.beyond...), nil)
		theirs.add(r.Peer, nil)
		wall, peers = append(wall, r.Wall), append(peers, sum(r.Peer))
		a.BusyCPUs = append(a.BusyCPUs, hundredths(r.Busy[0]), hundredths(r.Busy[1]))
		a.RunDirs = append(a.RunDirs, r.Run.RunDir)
	}
	a.Patchlab.Seconds, a.Patchlab.Steps = seconds(wall), ours.steps()
	a.Peer.Seconds, a.Peer.Steps = seconds(peers), theirs.steps()
	if a.Peer.Seconds != nil && a.ColdBoot != nil {
		a.Goal = hundredths(a.Peer.Median - ofColdBoot*a.ColdBoot.Median)
		a.Reached = a.Patchlab.Median <= a.Goal
	}
	return a
}

// steps are the lines of a table that has one side.
func (t *table) steps() []Step {
	steps := []Step{}
	for _, row := range t.rows() {
		steps = append(steps, Step{Step: row.Step, Increment: row.Increment, Seconds: (*Seconds)(row.Patchlab)})
	}
	return steps
}
