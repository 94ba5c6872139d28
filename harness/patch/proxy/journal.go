package proxy

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness/printable"
)

// Request is one request of the guest.
type Request struct {
	Start   time.Time
	Method  string
	Path    string
	Status  int
	Bytes   int64
	Seconds float64
	Cached  bool  // served without asking the mirror
	Err     error // what the mirror or this host did wrong; never a refusal or a file that the archive does not have
}

// journal keeps the requests and writes a line for each.
type journal struct {
	mu       sync.Mutex
	log      io.Writer
	requests []Request
	errs     []error
}

// journalMost bounds what is kept of requests and errors: a full upgrade has some thousand.
const journalMost = 20_000

func (j *journal) add(r Request) {
	const most = 200 // characters of a path or an error: more than any of Debian's
	r.Method, r.Path = printable.Line(r.Method, most), printable.Line(r.Path, most)
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.requests) < journalMost {
		j.requests = append(j.requests, r)
	}
	if j.log == nil {
		return
	}
	origin := "mirror"
	if r.Cached {
		origin = "cache"
	}
	line := fmt.Sprintf("%s %6.2fs %d %-6s %9d %s %s", r.Start.UTC().Format("2006-01-02T15:04:05.000Z"), r.Seconds, r.Status,
		origin, r.Bytes, r.Method, r.Path)
	if r.Err != nil {
		line += ": " + printable.Line(r.Err.Error(), most)
	}
	_, _ = io.WriteString(j.log, line+"\n")
}

func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.errs) < journalMost {
		j.errs = append(j.errs, err)
	}
}

func (j *journal) all() []Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.requests)
}

func (j *journal) failures() []error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.errs)
}
