package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness/printable"
)

// maxText bounds the text of one event, in runes: a long line is still a line.
const maxText = 400

// Lines writes a plain line per change: for pipes, CI and logs.
type Lines struct {
	w      io.Writer
	layout string
	utc    bool

	mu   sync.Mutex
	runs runs
}

// NewLines writes lines that start with the time of day.
func NewLines(w io.Writer) *Lines { return &Lines{w: w, layout: time.TimeOnly} }

// NewLog writes lines that start with date and time in UTC, for a file.
func NewLog(w io.Writer) *Lines { return &Lines{w: w, layout: "2006-01-02T15:04:05.000Z", utc: true} }

// Emit writes the line. A writer that fails (a closed pipe) does not stop the work that is watched.
func (l *Lines) Emit(event Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := event.At
	if l.utc {
		at = at.UTC()
	}
	_, _ = fmt.Fprintf(l.w, "%s %s%s\n", at.Format(l.layout), l.runs.prefix(event.Run), sentence(event))
}

// sentence tells an event in words.
func sentence(event Event) string {
	step, text := printable.Line(event.Step, maxText), printable.Line(event.Text, maxText)
	detail := ""
	if text != "" {
		detail = ": " + text
	}
	switch event.Kind {
	case Start:
		return step + " ..." + detail
	case Done:
		return step + " done, " + Seconds(event.Elapsed) + detail
	case Failed:
		return step + " FAILED after " + Seconds(event.Elapsed) + detail
	case Skipped:
		return step + " skipped" + detail
	case Note, Invalid:
	}
	return step + detail
}

// Seconds renders a duration as people read it beside others: 0.4 s, 12.3 s, 140 s.
func Seconds(d time.Duration) string {
	if d >= 100*time.Second {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// runs tells the runs that share a sink apart; a single one needs no name.
type runs struct {
	first   string
	several bool
}

func (r *runs) prefix(run string) string {
	if r.first == "" {
		r.first = run
	}
	r.several = r.several || run != r.first
	if !r.several || run == "" {
		return ""
	}
	return "[" + printable.Line(run, maxText) + "] "
}

// Multi passes every event to several sinks, in their order.
func Multi(sinks ...Sink) Sink { return multi(sinks) }

type multi []Sink

func (m multi) Emit(event Event) {
	for _, s := range m {
		s.Emit(event)
	}
}
