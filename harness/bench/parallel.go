package bench

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
)

// Parallel compares runs at once with the same runs one after the other.
type Parallel struct {
	Schema    int          `json:"schema"`
	Bench     string       `json:"bench"` // parallel
	Scenarios []string     `json:"scenarios"`
	Jobs      int          `json:"jobs"`   // how many ran at once
	CPUs      int          `json:"cpus"`   // of the host
	Rounds    int          `json:"rounds"` // in turn: one after the other, at once, one after the other, ...
	Parallel  ParallelWays `json:"parallel"`
	// Throughput is how many times faster all runs were done at once, round by round.
	Throughput *Figures `json:"throughput"`
	// TranslationCacheMiB is the bound of QEMU's tb-cache; 0 with KVM, which has none.
	TranslationCacheMiB int         `json:"translation_cache_mib"`
	Host                report.Host `json:"host"`
	// BusyCPUs is how much of the host other work took before each side.
	BusyCPUs []float64 `json:"busy_cpus"`
	RunDirs  []string  `json:"run_dirs"`
}

// ParallelWays are the two ways of doing the same.
type ParallelWays struct {
	InTurn Way `json:"one_after_the_other"`
	AtOnce Way `json:"at_once"`
}

// Way is one of them. Its own seconds are until all runs had ended.
type Way struct {
	*Seconds
	Run  *Seconds `json:"run"`     // a single run
	Busy *Figures `json:"cpus"`    // how many CPUs of the host were busy on average
	Own  *Seconds `json:"own_cpu"` // CPU time of patchlab itself, without QEMU and libvirt
	Step []Phase  `json:"phases"`  // of the runs
}

// Round is what one side of a round was seen to take.
type Round struct {
	Results []report.Result // in the order of the scenarios
	Runs    []float64       // seconds of each
	Use     Use
}

// ParallelRound is both ways, one after the other.
type ParallelRound struct {
	InTurn, AtOnce Round
	// Busy is how many CPUs other work kept busy before either.
	Busy [2]float64
}

// Use is what was used of the host between two moments.
type Use struct {
	Seconds float64 // that passed
	Busy    float64 // CPUs on average, by all programs
	Own     float64 // CPU seconds of this process
}

// Meter measures [Use] from its start.
type Meter struct {
	began time.Time
	host  usage
	own   float64
}

// NewMeter starts one.
func NewMeter() (Meter, error) {
	host, err := hostUsage()
	return Meter{began: time.Now(), host: host, own: ownCPU()}, err
}

// Read returns what has been used since the start.
func (m Meter) Read() (Use, error) {
	host, err := hostUsage()
	return Use{Seconds: time.Since(m.began).Seconds(), Busy: host.since(m.host), Own: ownCPU() - m.own}, err
}

func ownCPU() float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds()
}

// Learned tells whether a run had to make what later ones find: such a run is no measure for them.
func Learned(result report.Result) bool {
	return slices.ContainsFunc(result.Phases, func(p report.Phase) bool {
		return p.Status == "done" && slices.Contains([]string{"template", "baseline", "control"}, p.Name)
	})
}

// Comparable refuses runs that the lab has spoiled, and pairs that do not say the same of their candidate.
func Comparable(r ParallelRound) error {
	for i, one := range r.InTurn.Results {
		other := r.AtOnce.Results[i]
		for _, result := range []report.Result{one, other} {
			if result.Outcome == verdict.Testbed || result.Outcome == verdict.Interrupted {
				return fmt.Errorf("there is nothing to compare: %s (evidence: %s)", report.Headline(result), result.RunDir)
			}
		}
		if one.Outcome != other.Outcome {
			return fmt.Errorf("%s ended with %s alone and with %s beside others (evidence: %s and %s)", one.Scenario, one.Outcome,
				other.Outcome, one.RunDir, other.RunDir)
		}
	}
	return nil
}

// CompareWays sums up rounds. What is known of the host and the scenarios is for the caller to fill in.
func CompareWays(rounds []ParallelRound) Parallel {
	p := Parallel{Schema: Schema, Bench: "parallel", Rounds: len(rounds), BusyCPUs: []float64{}, RunDirs: []string{}}
	var inTurn, atOnce []Round
	var throughput []float64
	for _, r := range rounds {
		inTurn, atOnce = append(inTurn, r.InTurn), append(atOnce, r.AtOnce)
		throughput = append(throughput, r.InTurn.Use.Seconds/r.AtOnce.Use.Seconds)
		p.BusyCPUs = append(p.BusyCPUs, hundredths(r.Busy[0]), hundredths(r.Busy[1]))
		for _, result := range slices.Concat(r.InTurn.Results, r.AtOnce.Results) {
			p.RunDirs, p.Host = append(p.RunDirs, result.RunDir), result.Host
		}
	}
	p.Parallel.InTurn, p.Parallel.AtOnce, p.Throughput = way(inTurn), way(atOnce), figures(throughput)
	return p
}

func way(rounds []Round) Way {
	var all, runs, busy, own []float64
	var results []report.Result
	for _, r := range rounds {
		all, busy, own = append(all, r.Use.Seconds), append(busy, r.Use.Busy), append(own, r.Use.Own)
		runs, results = append(runs, r.Runs...), append(results, r.Results...)
	}
	return Way{Seconds: seconds(all), Run: seconds(runs), Busy: figures(busy), Own: seconds(own), Step: Phases(results)}
}
