package progress

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness/printable"
)

// redrawEvery is how often a live view moves. Slower looks stuck, faster costs the emulated guest its processor.
const redrawEvery = 200 * time.Millisecond

// Terminal control sequences that every terminal since the VT100 knows.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	clearBelow = "\r\x1b[J"
	dim        = "\x1b[2m"
	red        = "\x1b[31m"
	green      = "\x1b[32m"
	plain      = "\x1b[0m"
)

// Live shows open steps at the bottom of a terminal, with a spinner and the seconds so far, and leaves a line for each
// closed one above. Close it before anything else is written to the terminal.
type Live struct {
	w      io.Writer
	width  func() int
	colour bool

	mu    sync.Mutex
	open  []openStep
	runs  runs
	drawn int // lines of the last drawing
	turn  int
	stop  chan struct{}
	ended chan struct{}
}

type openStep struct {
	run, step, note string
	since           time.Time
}

// NewLive starts a live view. width tells the terminal's columns and is asked at each drawing, because windows change.
func NewLive(w io.Writer, width func() int, colour bool) *Live {
	l := &Live{w: w, width: width, colour: colour, stop: make(chan struct{}), ended: make(chan struct{})}
	l.write(hideCursor)
	go l.spin()
	return l
}

func (l *Live) spin() {
	defer close(l.ended)
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
			l.mu.Lock()
			l.turn++
			l.draw("")
			l.mu.Unlock()
		}
	}
}

// Emit shows the event.
func (l *Live) Emit(event Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	prefix := l.runs.prefix(event.Run)
	at := slices.IndexFunc(l.open, func(o openStep) bool { return o.run == event.Run && o.step == event.Step })
	switch event.Kind {
	case Start:
		if at < 0 {
			l.open = append(l.open, openStep{run: event.Run, step: event.Step, note: event.Text, since: event.At})
		}
		l.draw("")
	case Note, Invalid:
		if at >= 0 {
			l.open[at].note = event.Text
			l.draw("")
			return
		}
		l.draw(l.paint(dim, l.fit("  "+prefix+sentence(event))))
	case Done, Failed, Skipped:
		if at >= 0 {
			l.open = slices.Delete(l.open, at, at+1)
		}
		l.draw(l.closed(prefix, event))
	}
}

// closed renders what stays of a step.
func (l *Live) closed(prefix string, event Event) string {
	mark, colour := "✓", green
	switch event.Kind {
	case Failed:
		mark, colour = "✗", red
	case Skipped:
		mark, colour = "-", dim
	case Invalid, Start, Note, Done:
	}
	left := prefix + printable.Line(event.Step, maxText)
	if event.Elapsed > 0 {
		left = fmt.Sprintf("%-24s %8s", left, Seconds(event.Elapsed))
	}
	text := printable.Line(event.Text, maxText)
	if event.Kind == Failed {
		// Why something failed is worth more than one line of the screen.
		return l.paint(colour, mark) + " " + left + "  " + text
	}
	if text != "" {
		text = "  " + text
	}
	return l.paint(colour, mark) + " " + l.fit(left+text)
}

// draw replaces the open steps on the screen, after a line that stays if it is not empty.
func (l *Live) draw(stays string) {
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.drawn)
	}
	b.WriteString(clearBelow)
	if stays != "" {
		b.WriteString(stays + "\n")
	}
	for _, o := range l.open {
		b.WriteString(l.openLine(o) + "\n")
	}
	l.drawn = len(l.open)
	l.write(b.String())
}

func (l *Live) openLine(o openStep) string {
	spinner := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	name := l.runs.prefix(o.run) + printable.Line(o.step, maxText)
	line := fmt.Sprintf("%-24s %8s", name, Seconds(time.Since(o.since).Truncate(100*time.Millisecond)))
	line = l.fit(line)
	if note := printable.Line(o.note, maxText); note != "" {
		if room := l.width() - 3 - len([]rune(line)) - 2; room > 10 {
			line += "  " + l.paint(dim, printable.Line(note, room))
		}
	}
	return string(spinner[l.turn%len(spinner)]) + " " + line
}

// fit cuts a line so that it does not wrap, which would break the counting of lines.
func (l *Live) fit(line string) string { return printable.Line(line, max(20, l.width()-3)) }

func (l *Live) paint(colour, text string) string {
	if !l.colour || text == "" {
		return text
	}
	return colour + text + plain
}

func (l *Live) write(text string) { _, _ = io.WriteString(l.w, text) }

// Close ends the view: open steps vanish, what is closed stays, the cursor is back. Later calls do nothing.
func (l *Live) Close() {
	l.mu.Lock()
	select {
	case <-l.stop:
		l.mu.Unlock()
		return
	default:
	}
	close(l.stop)
	l.open = nil
	l.draw("")
	l.write(showCursor)
	l.mu.Unlock()
	<-l.ended
}
