// Package progress carries what a long operation is doing to whoever shows it.
//
// Work emits events into a [Sink]; a terminal view, plain lines and a log file are sinks. Work never prints.
package progress

import "time"

// Sink receives events. Implementations are safe for concurrent use and never block for long.
type Sink interface {
	Emit(event Event)
}

// Kind of an event.
type Kind int

// The kinds of event.
const (
	Invalid Kind = iota
	// Start opens a step (a phase of a run, a stage of an image build).
	Start
	// Note tells something within the open step: one line.
	Note
	// Done closes a step that went well.
	Done
	// Failed closes a step that did not; Text says why.
	Failed
	// Skipped is a step that was not needed; Text says why ("cached").
	Skipped
)

// Event is one change that somebody watching would like to see.
type Event struct {
	Kind Kind
	Run  string // the run's or build's name: several may share a sink
	Step string // "baseline", "apply openssl"
	Text string // one line
	At   time.Time
	// Elapsed is how long the step took, for Done and Failed.
	Elapsed time.Duration
}

// Discard is a sink for those who do not watch.
type Discard struct{}

// Emit drops the event.
func (Discard) Emit(Event) {}
