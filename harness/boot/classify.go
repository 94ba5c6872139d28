package boot

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/printable"
)

// State of a boot.
type State int

// The states. A boot that goes on, or has come up, is Under way.
const (
	UnderWay State = iota
	Ended          // it has stopped, and says so
	Hung           // it stands still: see [Watcher]
	Looped         // the machine has started once more before it came up
)

// Seen is what the console shows of one boot.
type Seen struct {
	State  State
	Stage  Stage    // the furthest that the boot came to; of one that has ended, where it went wrong
	Cause  string   // what a line says about its end, "" if none does
	Remedy string   // for the cause, "" without one
	Lines  []string // the lines that prove it, at most [mostLines]
	Job    Job      // the one that the boot waits for just now

	// Shown says that it was read from the guest's screen, and so were its lines.
	Shown bool

	// fatal is an end that no other way into the guest can put in doubt.
	fatal bool
	begun bool // the machine has left the boot before
}

const (
	mostLines = 8
	// longestLine is what is kept of one line: the telling part of a kernel message fits.
	longestLine = 300
	// Of the lines around a telling one that are quoted: a panic is explained by what follows, a prompt by what precedes.
	linesBefore, linesAfter = 3, 3
)

// reading is what is known after some lines of a boot.
type reading struct {
	lines  []string
	left   bool // the boot before is over
	starts []start
}

// start is one start of the machine, from its firmware on.
type start struct {
	line       int // the first
	stage      Stage
	runs       bool // its kernel has said something
	complained bool // its boot loader has
	ended, why told
	job        Job
}

// told is a rule and the line that fits it; nothing was told while line is 0 and rule nil.
type told struct {
	rule  *rule
	order int // of the rule in the table
	line  int
}

// better tells whether another line tells more: the earlier rule does, and of lines that fit the same, the first.
func (t told) better(other told) bool { return t.rule == nil || other.order < t.order }

// Classify reads what a guest wrote since it was asked to reboot, or since it was started.
func Classify(content []byte) Seen {
	r := reading{starts: []start{{stage: Firmware}}}
	for _, line := range strings.FieldsFunc(string(content), func(c rune) bool { return c == '\n' || c == '\r' }) {
		if line = strings.TrimSpace(printable.Line(line, longestLine)); line != "" {
			r.read(line)
		}
	}
	return r.seen()
}

// OnScreen adds what the guest's screen shows to what its console did: firmware and boot loader may speak to the screen alone.
func OnScreen(seen Seen, text []byte) Seen {
	screen := Classify(text)
	old := screen.Stage.rank() < seen.Stage.rank() || screen.Stage.rank() > Bootloader.rank()
	if old || screen.Stage == seen.Stage && screen.State != Ended {
		return seen // it tells nothing more
	}
	if screen.State == UnderWay { // it came further, and stands still there
		screen.State, screen.Cause = seen.State, seen.Cause
	}
	screen.Shown = true
	return screen
}

func (r *reading) now() *start { return &r.starts[len(r.starts)-1] }

func (r *reading) read(line string) {
	r.lines = append(r.lines, line)
	if slices.ContainsFunc(leaves, func(text string) bool { return strings.Contains(line, text) }) {
		r.leave(len(r.lines))
		return
	}
	job, waits := jobOf(line)
	if r.now().job = job; waits {
		return
	}
	r.readSigns(line)
	for order := range rules {
		r.apply(told{&rules[order], order, len(r.lines) - 1})
	}
}

// leave ends the boot before, or if that is over already, the one that is looked at.
func (r *reading) leave(next int) {
	if r.left {
		r.starts = append(r.starts, start{stage: Firmware, line: next})
		return
	}
	r.left = true
	r.starts = []start{{stage: Firmware, line: next}}
}

func (r *reading) readSigns(line string) {
	for _, s := range signs {
		if !strings.Contains(line, s.text) || s.but != "" && strings.Contains(line, s.but) {
			continue
		}
		if s.stage == Services && !r.left {
			continue // a unit of the boot before, on its way down
		}
		r.left = r.left || s.stage.rank() <= Userspace.rank()
		if r.now().over(s) {
			r.leave(len(r.lines) - 1)
		}
		now := r.now()
		now.stage = later(now.stage, s.stage)
		now.runs = now.runs || s.runs
	}
	now := r.now()
	now.complained = now.complained || now.stage.rank() <= Kernel.rank() && strings.HasPrefix(line, "error: ")
}

// over tells whether a sign is one of the machine's next start.
func (s *start) over(by sign) bool {
	switch {
	case !by.anew:
		return false
	case by.stage == Firmware:
		return s.stage.rank() > Firmware.rank()
	case by.stage == Bootloader:
		// After an error it shows its menu again.
		return s.runs || s.stage.rank() >= Kernel.rank() && !s.complained
	default:
		return s.runs
	}
}

func (r *reading) apply(t told) {
	now, line := r.now(), r.lines[t.line]
	if !t.rule.fits(line) {
		return
	}
	switch {
	case t.rule.means == ends && now.ended.better(t):
		now.ended = t
	case t.rule.means == explains && r.left && now.why.better(t):
		now.why = t
	}
}

// seen sums up.
func (r *reading) seen() Seen {
	now := r.now()
	if len(r.starts) > 1 {
		return r.looped()
	}
	seen := Seen{Stage: now.stage, Job: now.job, begun: r.left}
	if now.ended.rule != nil {
		seen.State = Ended
		seen.fatal = now.ended.rule.fatal
	}
	r.explain(&seen, *now)
	return seen
}

// looped tells of the start before the last: the last one has not shown much yet.
func (r *reading) looped() Seen {
	before := r.starts[len(r.starts)-2]
	seen := Seen{State: Looped, Stage: before.stage, fatal: true, begun: true}
	r.explain(&seen, before)
	last := r.lastWords(before.line, r.now().line)
	if seen.Cause == "" {
		seen.Cause = "the machine starts anew after: " + bare(r.lines[last])
	}
	seen.Lines = slices.Clone(r.lines[max(0, last-linesBefore):min(len(r.lines), last+mostLines-linesBefore)])
	return seen
}

// lastWords is the last line that the kernel did not write, or the last: it goes down with many words, whoever wanted it.
func (r *reading) lastWords(from, to int) int {
	for i := to - 1; i > from; i-- {
		if !kernelTime.MatchString(r.lines[i]) {
			return i
		}
	}
	return max(0, to-1)
}

// kernelTime begins what a kernel writes.
var kernelTime = regexp.MustCompile(`^\[ *[0-9]+\.[0-9]+\]`)

// explain adds what is known of the end of a start.
func (r *reading) explain(seen *Seen, s start) {
	seen.Lines = r.lines[max(0, len(r.lines)-mostLines):]
	chosen := s.ended
	if why := s.why; why.rule != nil && (chosen.rule == nil || why.rule.accounts(chosen.rule, s.stage)) {
		chosen = why
	}
	if chosen.rule == nil {
		return
	}
	seen.Cause, seen.Remedy = bare(r.lines[chosen.line]), chosen.rule.remedy
	if s.ended.rule == nil {
		return // it may go on
	}
	seen.Stage = cmp.Or(chosen.rule.stage, s.stage)
	seen.Lines = r.around(s.ended.line)
	if chosen.line < s.ended.line-linesBefore {
		seen.Lines = append([]string{r.lines[chosen.line]}, seen.Lines...)
	}
}

// fits tells whether a line is the rule's.
func (e *rule) fits(line string) bool {
	return strings.Contains(line, e.text) && strings.Contains(line, e.also) && (e.but == "" || !strings.Contains(line, e.but))
}

// accounts tells whether what an earlier line explains can be why the boot ended.
func (e *rule) accounts(end *rule, reached Stage) bool {
	from, to := cmp.Or(e.stage, reached).rank(), cmp.Or(end.stage, reached).rank()
	return to-from <= 1
}

// around quotes a line with its neighbours.
func (r *reading) around(line int) []string {
	return slices.Clone(r.lines[max(0, line-linesBefore):min(len(r.lines), line+1+linesAfter)])
}

// adornment is what kernel and systemd put before a message: seconds since the start, the state of a unit.
var adornment = regexp.MustCompile(`^(\[ *[0-9.]+\] *)?(\[ *(OK|FAILED|DEPEND|TIME|INFO|WARN) *\] *)?`)

func bare(line string) string { return adornment.ReplaceAllString(line, "") }
