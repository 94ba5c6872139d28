// Package bench measures what patchlab costs.
//
// The overhead is what a run takes longer than a person who does the same by hand with ssh, scp and virsh. [Hand] is that person:
// it calls these programs and uses nothing of what it is compared with. [Overhead] puts the two side by side.
package bench

import (
	"slices"

	"github.com/patchlab/patchlab/harness/report"
)

// Steps that both sides take. The names are part of the JSON.
const (
	Define   = "define"   // from nothing to a started domain: disk, define, start, address
	Boot     = "boot"     // until ssh answers; patchlab also waits until the guest has settled, with its probe in place
	Copy     = "copy"     // the increment's packages into the guest; patchlab has APT fetch them through its proxy
	Install  = "install"  // the packages
	Restart  = "restart"  // the units that the run restarted
	Check    = "check"    // the scenario's expectations; by hand only, for patchlab they are part of its suites
	Reboot   = "reboot"   // until ssh answers with another boot id; patchlab: settled
	Teardown = "teardown" // until nothing is left
)

// What only patchlab does. The names are part of the JSON.
const (
	Baseline = "baseline" // what is known of the unpatched guest, and the control reboot; nothing where it is cached
	Captures = "captures" // reading facts
	Suites   = "suites"   // before and after
	Rest     = "rest"     // judging, writing evidence, checking the image, cleaning up in the guest
)

// Time is one step as it was measured, in seconds.
type Time struct {
	Step, Increment string
	Seconds         float64
}

// Pair is one run and the same by hand, one after the other.
type Pair struct {
	Run    report.Result
	Wall   float64 // seconds of the run from its call to its return
	ByHand []Time
	// Busy is how many CPUs other work kept busy before either side.
	Busy [2]float64
}

// Overhead is the result of the bench. All times are in seconds.
type Overhead struct {
	Schema   int          `json:"schema"`
	Bench    string       `json:"bench"` // overhead
	Scenario string       `json:"scenario"`
	Image    report.Image `json:"image"`
	Host     report.Host  `json:"host"`
	// TranslationCacheMiB is the bound of QEMU's tb-cache on both sides; 0 with KVM, which has none.
	TranslationCacheMiB int    `json:"translation_cache_mib"`
	SSH                 string `json:"ssh"`   // the client's version
	Virsh               string `json:"virsh"` // version
	Runs                int    `json:"runs"`  // of either side
	// Baseline says of each run whether what is known of the unpatched guest was cached or measured.
	Baseline []string `json:"baseline"`
	// BusyCPUs is how much of the host other work took before each side, in turn: patchlab, by hand, patchlab, ...
	BusyCPUs []float64 `json:"busy_cpus"`
	Steps    []Row     `json:"steps"`
	Same     Row       `json:"same"` // the sum of Steps
	Beyond   []Row     `json:"beyond"`
	Total    Row       `json:"total"`
	Phases   []Phase   `json:"phases"`   // of the runs, as their results have them
	RunDirs  []string  `json:"run_dirs"` // evidence of both sides
}

// Row is one line of the table. A side that does not take the step has no figures.
type Row struct {
	Step      string   `json:"step"`
	Increment string   `json:"increment,omitempty"`
	Patchlab  *Figures `json:"patchlab_seconds,omitempty"`
	ByHand    *Figures `json:"by_hand_seconds,omitempty"`
	// Difference of the medians, patchlab less by hand; a side without figures counts as 0.
	Difference float64 `json:"difference_seconds"`
}

// Compare sums up pairs of the same scenario. The programs and the translation cache are for the caller to fill in.
func Compare(pairs []Pair) Overhead {
	o := Overhead{Schema: Schema, Bench: "overhead", Runs: len(pairs), Baseline: []string{}, BusyCPUs: []float64{}, RunDirs: []string{}}
	var steps, beyond, same, total table
	var runs []report.Result
	for _, p := range pairs {
		o.Scenario, o.Image, o.Host = p.Run.Scenario, p.Run.Image, p.Run.Host
		side := split(p.Run, p.Wall)
		runs = append(runs, p.Run)
		o.Baseline = append(o.Baseline, side.baseline)
		o.BusyCPUs = append(o.BusyCPUs, hundredths(p.Busy[0]), hundredths(p.Busy[1]))
		o.RunDirs = append(o.RunDirs, p.Run.RunDir)
		steps.add(side.steps, p.ByHand)
		beyond.add(side.beyond, nil)
		same.add([]Time{{Step: "same", Seconds: sum(side.steps)}}, []Time{{Step: "same", Seconds: sum(p.ByHand)}})
		total.add([]Time{{Step: "total", Seconds: p.Wall}}, []Time{{Step: "total", Seconds: sum(p.ByHand)}})
	}
	o.Phases = Phases(runs)
	o.Steps, o.Beyond = steps.rows(), beyond.rows()
	if len(pairs) > 0 {
		o.Same, o.Total = same.rows()[0], total.rows()[0]
	}
	return o
}

// side is what one run took.
type side struct {
	steps, beyond []Time
	baseline      string // cached or measured
}

// split takes a run's phases apart into what a person does as well and what only patchlab does.
func split(result report.Result, wall float64) side {
	s := side{baseline: "measured"}
	var baseline, captures, suites float64
	prepared := false // what comes before is about the baseline, its teardown as well
	step := func(name, increment string, seconds float64) {
		s.steps = append(s.steps, Time{Step: name, Increment: increment, Seconds: seconds})
	}
	for _, p := range result.Phases {
		prepared = prepared || p.Name == "prepare"
		if !prepared {
			if p.Status == "cached" {
				s.baseline = "cached"
			}
			baseline += p.Seconds
			continue
		}
		captures += p.Steps["capture"]
		suites += p.Steps["suites"]
		switch p.Name {
		case "prepare":
			step(Define, "", p.Steps["clone"]) // one that goes on from a template is up by then
			step(Boot, "", p.Steps["boot"])
		case "apply":
			step(Copy, p.Increment, p.Steps["stage"])
			step(Install, p.Increment, p.Steps["install"])
		case "settle":
			step(Restart, p.Increment, p.Steps["restart"])
		case "reboot":
			step(Reboot, "", p.Steps["boot"])
		case "teardown":
			step(Teardown, "", p.Seconds)
		}
	}
	rest := wall - sum(s.steps) - baseline - captures - suites
	s.beyond = []Time{{Baseline, "", baseline}, {Captures, "", captures}, {Suites, "", suites}, {Rest, "", rest}}
	return s
}

// table gathers the values of the lines that several pairs have in common.
type table struct {
	order []line
	cells map[line][2][]float64 // patchlab, by hand
}

type line struct{ step, increment string }

// add takes one pair. Steps of one name and increment add up, as the checks do.
func (t *table) add(patchlab, byHand []Time) {
	if t.cells == nil {
		t.cells = map[line][2][]float64{}
	}
	for i, times := range [2][]Time{patchlab, byHand} {
		sums := map[line]float64{}
		var order []line
		for _, one := range times {
			at := line{one.Step, one.Increment}
			if _, known := sums[at]; !known {
				order = append(order, at)
			}
			sums[at] += one.Seconds
		}
		t.order = merge(t.order, order)
		for _, at := range order {
			cell := t.cells[at]
			cell[i] = append(cell[i], sums[at])
			t.cells[at] = cell
		}
	}
}

// merge puts the lines that are missing where they stand in the other list: behind the one that precedes them there.
func merge(into, from []line) []line {
	place := 0
	for _, at := range from {
		if i := slices.Index(into, at); i >= 0 {
			place = i + 1
			continue
		}
		into = slices.Insert(into, place, at)
		place++
	}
	return into
}

func (t *table) rows() []Row {
	rows := []Row{}
	for _, at := range t.order {
		cell := t.cells[at]
		row := Row{Step: at.step, Increment: at.increment, Patchlab: figures(cell[0]), ByHand: figures(cell[1])}
		if row.Patchlab != nil {
			row.Difference += row.Patchlab.Median
		}
		if row.ByHand != nil {
			row.Difference -= row.ByHand.Median
		}
		row.Difference = hundredths(row.Difference)
		rows = append(rows, row)
	}
	return rows
}

func sum(times []Time) float64 {
	total := 0.0
	for _, t := range times {
		total += t.Seconds
	}
	return total
}
