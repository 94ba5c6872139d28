package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/helper"
	"github.com/patchlab/patchlab/harness/printable"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

// readDead has a helper domain read the disk of a guest that nobody reaches any more, on an overlay that is thrown away, and adds to
// the finding what it tells. That is evidence: the finding stands without it, and that it cannot be had is only told.
func (r *run) readDead(ctx context.Context, c *clone, p *phase, f *verdict.Finding) {
	if r.lab.Kit == nil {
		return
	}
	p.note("opening the dead guest's disk in a helper domain")
	err := r.withHelper(ctx, c, p, false, func(ctx context.Context, h *helper.Helper) error {
		return r.examine(ctx, c, p, h, f)
	})
	if err != nil && ctx.Err() == nil {
		p.note("what the dead guest has on its disk is not known: %v", err)
	}
}

// leaveOn turns a clone that is going to be kept on again if a helper has had its disk: whoever wants to look at it finds it as it was.
func (r *run) leaveOn(ctx context.Context, c *clone) error {
	if !r.options.Keep || !c.isOff {
		return nil
	}
	return c.turnOn(ctx)
}

// byHelper says in a finding how what it quotes was come by.
const byHelper = "read from the dead guest's disk by a helper domain"

// examine keeps what the opened disk tells: the journal of the boot that failed, and facts.
func (r *run) examine(ctx context.Context, c *clone, p *phase, h *helper.Helper, f *verdict.Finding) error {
	for _, problem := range h.Opened.Problems {
		p.note("the guest's disk: %s", problem)
	}
	_, failed := p.step("helper: journal", func() error { return r.readJournal(ctx, p, h, f) })
	_, err := p.step("helper: capture", func() error {
		ctx, cancel := context.WithTimeout(ctx, r.bounds.Probe)
		defer cancel()
		read, err := h.Facts(ctx, c.files)
		if err != nil {
			return err
		}
		for _, n := range read.Notes {
			p.note("the probe could not read everything: %s: %s", n.Kind, n.Error)
		}
		p.note("%d facts, for which %d files were read", read.Facts.Len(), read.Sent)
		f.Evidence = append(f.Evidence, verdict.Evidence{File: rundir.HelperFacts, Lines: []string{byHelper}})
		return r.writeFacts(rundir.HelperFacts, WithoutOwnKey(read.Facts, c.access.AuthorizedKey))
	})
	return errors.Join(failed, err)
}

// Of the journal as it lies on the disk. Without --directory journalctl would look for the helper's own boot.
const (
	journalctl   = "journalctl --directory=/var/log/journal --no-pager"
	mostBoots    = 3    // that failed, of which the journal is kept: a guest may have started again and again
	mostJournal  = 5000 // lines of one boot
	longestEntry = 1000 // characters
)

// readJournal keeps what the journal has of the boots that failed, and adds the unit that it names.
func (r *run) readJournal(ctx context.Context, p *phase, h *helper.Helper, f *verdict.Finding) error {
	list, err := r.askDead(ctx, h, journalctl+" --quiet --list-boots")
	if err != nil {
		return err
	}
	failed, last := r.failedBoots(string(list.Stdout))
	if p.kind != "reboot" && last != "" {
		failed = []string{last} // it has settled once, and was lost later
	}
	if len(failed) == 0 {
		p.note("the guest's journal has nothing of the boot that failed: it did not come that far, or could not write any more")
		return nil
	}
	var text strings.Builder
	for _, id := range failed[max(0, len(failed)-mostBoots):] {
		journal, err := r.askDead(ctx, h, fmt.Sprintf("%s --boot=%s --output=short-monotonic --lines=%d", journalctl, id, mostJournal))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "== boot %s, %s\n", id, byHelper)
		for _, line := range printable.Lines(string(journal.Stdout), mostJournal, longestEntry) {
			text.WriteString(line + "\n")
		}
	}
	evidence := verdict.Evidence{File: rundir.HelperJournal, Lines: []string{byHelper}}
	failures, err := r.failedJobs(ctx, h, failed[len(failed)-1])
	for _, job := range failures[:min(len(failures), mostTelling)] {
		evidence.Lines = append(evidence.Lines, job.message)
	}
	f.Evidence = append(f.Evidence, evidence)
	if len(failures) > 0 && !strings.Contains(f.Cause, failures[0].unit) {
		f.Cause = strings.TrimPrefix(f.Cause+"; the journal says "+failures[0].told(), "; ")
	}
	return errors.Join(err, r.dir.Write(rundir.HelperJournal, []byte(text.String())))
}

// askDead runs one line in the opened system, of which an exit code other than 0 is a failure.
func (r *run) askDead(ctx context.Context, h *helper.Helper, line string) (guest.Result, error) {
	asking, cancel := context.WithTimeout(ctx, r.bounds.Command+r.bounds.Answer)
	defer cancel()
	result, err := h.Run(asking, line, r.bounds.Command)
	if err == nil {
		err = result.Err(guest.Command{Line: line})
	}
	if err != nil {
		return guest.Result{}, fmt.Errorf("asking the dead guest's own programs: %w", err)
	}
	return result, nil
}

// failedBoots are the ids in a list of boots that come after those that were seen to settle, oldest first. last is the last of all.
func (r *run) failedBoots(list string) (failed []string, last string) {
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !isBootID(fields[1]) {
			continue
		}
		last = fields[1]
		settled := slices.ContainsFunc(r.bootIDs, func(id string) bool { return strings.ReplaceAll(id, "-", "") == fields[1] })
		if settled {
			failed = nil // what came before is older, such as the boots in which the image was made
			continue
		}
		failed = append(failed, fields[1])
	}
	return failed, last
}

// isBootID tells whether a word is 32 hexadecimal digits: it becomes part of a command.
func isBootID(word string) bool {
	return len(word) == 32 && strings.Trim(word, "0123456789abcdef") == ""
}

// failedJob is a unit that did not start, and what the init system says of it.
type failedJob struct{ unit, message string }

// told names the unit once.
func (j failedJob) told() string {
	if strings.Contains(j.message, j.unit) {
		return j.message
	}
	return "of " + j.unit + ": " + j.message
}

// failedJobs are those of a boot that failed by themselves, the first first; what only depends on one of them is left out.
func (r *run) failedJobs(ctx context.Context, h *helper.Helper, boot string) ([]failedJob, error) {
	line := fmt.Sprintf("%s --quiet --boot=%s --output=json --output-fields=UNIT,MESSAGE --lines=100 _PID=1 JOB_RESULT=failed JOB_RESULT=timeout",
		journalctl, boot)
	result, err := r.askDead(ctx, h, line)
	if err != nil {
		return nil, err
	}
	var failed []failedJob
	for entry := range bytes.Lines(result.Stdout) {
		var told struct {
			Unit    string          `json:"UNIT"`
			Message json.RawMessage `json:"MESSAGE"` // a list of bytes where it is no text
		}
		var message string
		if json.Unmarshal(entry, &told) != nil || told.Unit == "" || json.Unmarshal(told.Message, &message) != nil {
			continue
		}
		failed = append(failed, failedJob{printable.Line(told.Unit, longestEntry), printable.Line(message, longestEntry)})
	}
	return failed, nil
}
