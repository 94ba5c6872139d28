// Package commandlog writes down what was done in a guest, a bounded line for each act, whatever way the guest was reached.
package commandlog

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Log writes a line for each thing that was done in the guest. A line that cannot be written is dropped: the
// command counts, not its log.
type Log struct {
	mu sync.Mutex
	to io.Writer
}

// New returns a log that writes to a writer, which may be nil.
func New(to io.Writer) *Log {
	if to == nil {
		to = io.Discard
	}
	return &Log{to: to}
}

// lineMost bounds what is logged of a command or an error, in bytes.
const lineMost = 2000

// Add writes: time of the start, seconds, outcome, what was done. An error takes the outcome's place.
func (l *Log) Add(start time.Time, outcome, what string, err error) {
	if err != nil {
		outcome = "error " + Quote(err.Error(), lineMost)
	}
	line := fmt.Sprintf("%s %7.2fs %-8s %s\n", start.UTC().Format("2006-01-02T15:04:05.000Z"), time.Since(start).Seconds(),
		outcome, Quote(what, lineMost))
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.to, line)
}

// Quote returns text as one line of at most most bytes, without anything that could move a terminal's cursor. Unlike
// printable.Line it keeps what was there, escaped: the line is evidence.
func Quote(text string, most int) string {
	cut := ""
	if len(text) > most {
		text, cut = text[:most], "..."
	}
	if quoted := strconv.Quote(text); quoted[1:len(quoted)-1] != text {
		text = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	}
	return text + cut
}
