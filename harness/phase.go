package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
)

// phase is one step of a run while it is under way.
type phase struct {
	run       *run
	kind      string // apply, settle, reboot
	increment string // "" where it is about none
	mode      scenario.Reboot
	name      string // both, as told
	steps     map[string]float64
	restarted []string // units
}

// phase times a step of the run and tells those who watch.
func (r *run) phase(name, increment string, do func(*phase) error) error {
	return r.pass(&phase{kind: name, increment: increment}, do)
}

// bootPhase is the phase of one way to reboot. All but the usual one are named.
func (r *run) bootPhase(name string, mode scenario.Reboot, do func(*phase) error) error {
	return r.pass(&phase{kind: name, mode: mode}, do)
}

func (r *run) pass(p *phase, do func(*phase) error) error {
	p.run, p.name, p.steps = r, p.kind, map[string]float64{}
	switch {
	case p.increment != "":
		p.name += " " + p.increment
	case p.mode != "" && p.mode != scenario.RebootClean:
		p.name += " " + string(p.mode)
	}
	started := r.lab.Now()
	r.emit(progress.Start, p.name, "", 0)
	err := do(p)
	elapsed := r.lab.Now().Sub(started)
	entry := report.Phase{
		Name: p.kind, Increment: p.increment, Mode: string(p.mode), Seconds: seconds(elapsed), Status: "done", Steps: p.steps, Restarted: p.restarted,
	}
	switch {
	case err != nil:
		entry.Status = "failed"
		r.emit(progress.Failed, p.name, err.Error(), elapsed)
	default:
		r.emit(progress.Done, p.name, "", elapsed)
	}
	r.result.Phases = append(r.result.Phases, entry)
	return err
}

func (r *run) skip(name, increment, why string) {
	r.result.Phases = append(r.result.Phases, report.Phase{Name: name, Increment: increment, Status: why})
	r.emit(progress.Skipped, strings.TrimSpace(name+" "+increment), why, 0)
}

func (r *run) emit(kind progress.Kind, step, text string, elapsed time.Duration) {
	r.sink.Emit(progress.Event{
		Kind: kind, Run: r.scenario.Name, Step: step, Text: r.hider.Hide(text), At: r.lab.Now(), Elapsed: elapsed,
	})
}

// note tells one line within the phase.
func (p *phase) note(format string, arguments ...any) {
	p.run.emit(progress.Note, p.name, fmt.Sprintf(format, arguments...), 0)
}

// step times a part of the phase. Steps of one name add up.
func (p *phase) step(name string, do func() error) (float64, error) {
	started := p.run.lab.Now()
	err := do()
	took := seconds(p.run.lab.Now().Sub(started))
	p.steps[name] = hundredths(p.steps[name] + took)
	return took, err
}

// seconds rounds to what is worth telling.
func seconds(d time.Duration) float64 { return hundredths(d.Seconds()) }

func hundredths(seconds float64) float64 { return math.Round(seconds*100) / 100 }

// firstReading is how many times longer than later ones the first reading of a guest may take, of whose files nothing is known: it
// reads everything.
const firstReading = 10

// capture takes a set of facts and keeps it as evidence.
func (r *run) capture(ctx context.Context, c *clone, p *phase, name string) (fact.Set, error) {
	var read probe.Reading
	p.tellFirstReading(c.files)
	_, err := p.step("capture", func() error {
		return r.overCut(ctx, c, p, func() (err error) {
			bound := r.bounds.Probe
			if c.files.Len() == 0 {
				bound *= firstReading
			}
			ctx, cancel := context.WithTimeout(ctx, bound)
			defer cancel()
			return c.read(ctx, func(by probe.Runner) (err error) {
				read, err = probe.Facts(ctx, by, c.conn, c.files)
				return err
			})
		})
	})
	if err != nil {
		return fact.Set{}, fmt.Errorf("reading the guest: %w", err)
	}
	c.files = read.Files
	for _, n := range read.Notes {
		p.note("the probe could not read everything: %s: %s", n.Kind, n.Error)
	}
	p.note("%d facts, for which %d files were read", read.Facts.Len(), read.Sent)
	if c.fresh {
		c.fresh = false
		err = r.rememberFiles(read)
	}
	facts := WithoutOwnKey(read.Facts, c.access.AuthorizedKey)
	return facts, errors.Join(err, r.writeFacts(factsFile(name), facts))
}

// factsFile is where the facts of a phase are kept.
func factsFile(phase string) string { return filepath.Join(rundir.Facts, phase+".json") }

// writeFacts keeps a set as evidence in a file of the run directory, each fact on a line of its own: there are tens of thousands, for
// grep and diff rather than for the eye.
func (r *run) writeFacts(file string, facts fact.Set) error {
	var content bytes.Buffer
	separator := "[\n"
	for _, f := range facts.All() {
		line, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("rendering facts: %w", err)
		}
		content.WriteString(separator)
		content.Write(line)
		separator = ",\n"
	}
	if facts.Len() == 0 {
		content.WriteString("[")
	}
	content.WriteString("\n]\n")
	return r.dir.Write(file, content.Bytes())
}
