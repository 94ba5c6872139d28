package sshguest

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// commandLog writes a line for each thing that was done in the guest. A line that cannot be written is dropped: the
// command counts, not its log.
type commandLog struct {
	mu sync.Mutex
	to io.Writer
}

func newCommandLog(to io.Writer) *commandLog {
	if to == nil {
		to = io.Discard
	}
	return &commandLog{to: to}
}

// lineMost bounds what is logged of a command or an error, in bytes.
const lineMost = 2000

// add writes: time of the start, seconds, outcome, what was done.
func (l *commandLog) add(start time.Time, outcome, what string, err error) {
	if err != nil {
		outcome = "error " + printable(err.Error(), lineMost)
	}
	line := fmt.Sprintf("%s %7.2fs %-8s %s\n", start.UTC().Format("2006-01-02T15:04:05.000Z"), time.Since(start).Seconds(),
		outcome, printable(what, lineMost))
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.to, line)
}
