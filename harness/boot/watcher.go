package boot

import (
	"fmt"
	"maps"
	"time"
)

// Patience is how long a boot may say nothing before it is given up. The harness scales it by the speed of its guests.
type Patience struct {
	// Quiet is for how long nothing new may follow a line after which nothing goes on: what a panic or a prompt has to say is out.
	Quiet time.Duration
	// Tell is when such a line is believed at the latest, though more follow it.
	Tell time.Duration
	// Silence is granted to firmware, boot loader and kernel at least.
	Silence time.Duration
	// Job is granted to everything later at least, for it may wait on purpose: for a disk, for a check of a file system, for a
	// unit that is slow to start. The same goes for a job that has no limit of its own.
	Job time.Duration
}

// slower is how many times longer than in the control boot a stage may be silent before it counts as hung.
const slower = 3

// Times are the seconds that a boot spent in each of its stages.
type Times map[Stage]float64

// Watch says what to follow.
type Watch struct {
	Console string
	Mark    int64 // where the boot's lines begin
	// PowerOn is a boot without a shutdown before it.
	PowerOn bool
	// Control is the same guest's boot without a patch; empty while nobody knows it, and then nothing counts as hung. A stage that is not in
	// it did not show there, and is not missed.
	Control  Times
	Patience Patience
	// Screen reads the text on the guest's screen; nil where nobody can. It is asked when firmware or boot loader say nothing to the
	// console: a prompt may be on the screen alone.
	Screen func() []byte
}

// Watcher follows a console while its guest boots. It lets no time pass itself: whoever waits for the guest calls
// [Watcher.Look] now and then.
type Watcher struct {
	watch Watch

	seen     Seen // when the console was last looked at and had grown
	size     int64
	last     time.Time     // of the look before
	passed   time.Duration // since then, of the guest's own time
	stage    Stage
	spent    map[Stage]time.Duration
	silent   time.Duration // since the console grew
	waits    time.Duration // since the boot waits for jobs that have no limit
	over     time.Duration // since a line was seen after which nothing goes on
	shown    time.Duration // since the screen shows that nothing goes on
	answered bool
}

// NewWatcher returns one that has not looked yet.
func NewWatcher(watch Watch) *Watcher {
	return &Watcher{watch: watch, size: watch.Mark, stage: Firmware, spent: map[Stage]time.Duration{}}
}

// Answered tells the watcher that the guest lets somebody in: from now on it is for others to say what it waits for, and only a
// panic or one more start ends its boot.
func (w *Watcher) Answered() { w.answered = true }

// Times returns what the boot has spent in its stages so far, without those that it went through unseen.
func (w *Watcher) Times() Times {
	times := Times{}
	for stage, spent := range w.spent {
		times[stage] = spent.Seconds()
	}
	return times
}

// Glance is one look's share of time.
type Glance struct {
	Now time.Time
	// Interval is how far the looks are apart. No more than two of them count: a host that was asleep, or a patchlab that was
	// stopped, is not the guest's silence.
	Interval time.Duration
	// Share is the part of a processor that the guest can have since the look before, 1 on a host that has nothing else to do. Of a
	// guest that gets a fifth, five seconds count as one.
	Share float64
}

// Look reads the console and tells whether the boot is over: it has ended, hangs, or has begun once more.
func (w *Watcher) Look(at Glance) (seen Seen, over bool) {
	size := Mark(w.watch.Console)
	if size < w.size {
		return w.seen, false // a witness that is lost proves nothing
	}
	if size > w.size || w.last.IsZero() {
		content, _, err := readFrom(w.watch.Console, w.watch.Mark)
		if err != nil {
			return w.seen, false
		}
		w.seen = Classify(content)
		w.seen.begun = w.seen.begun || w.watch.PowerOn
	}
	seen = w.seen
	w.pass(at, seen, size)
	switch {
	case seen.State == Looped:
		return seen, true
	case seen.State == Ended:
		settled := w.silent >= w.watch.Patience.Quiet || w.over >= w.watch.Patience.Tell
		return seen, settled && (seen.fatal || !w.answered)
	case w.answered || seen.Stage == Ready:
		return seen, false
	}
	if shown, over := w.onScreen(seen); over {
		return shown, true
	}
	return w.hangs(seen)
}

// onScreen asks the screen when the console is silent at a stage that may speak to the screen alone. That nothing goes on has to
// stand there for as long as on a console.
func (w *Watcher) onScreen(seen Seen) (Seen, bool) {
	quiet := w.watch.Patience.Quiet
	if w.watch.Screen == nil || !seen.begun || seen.Stage.rank() > Bootloader.rank() || w.silent < quiet {
		w.shown = 0
		return seen, false
	}
	shown := OnScreen(seen, w.watch.Screen())
	if shown.State != Ended {
		w.shown = 0
		return seen, false
	}
	w.shown += w.passed
	return shown, w.shown >= quiet
}

// pass lets the time since the last look count.
func (w *Watcher) pass(at Glance, seen Seen, size int64) {
	var passed time.Duration
	if !w.last.IsZero() {
		passed = min(at.Now.Sub(w.last), 2*at.Interval)
	}
	w.last = at.Now
	if seen.begun {
		w.spent[w.stage] += passed
		w.spent[seen.Stage] += 0 // it has been seen
	}
	passed = time.Duration(float64(passed) * at.Share)
	w.passed = passed
	w.silent += passed
	w.waits += passed
	if seen.Job.Unit == "" || seen.Job.Limit > 0 {
		w.waits = 0
	}
	if size != w.size {
		w.size, w.silent = size, 0
	}
	w.over += passed
	if seen.State != Ended {
		w.over = 0
	}
	w.stage = seen.Stage
}

// hangs decides whether a boot that says nothing of its end has come to one.
func (w *Watcher) hangs(seen Seen) (Seen, bool) {
	if !seen.begun || len(w.watch.Control) == 0 {
		return seen, false
	}
	patience := w.granted(seen.Stage)
	switch {
	case seen.Job.Unit != "" && seen.Job.Limit > 0:
		return seen, false // the guest has a patience of its own
	case seen.Job.Unit != "" && min(seen.Job.Running, w.waits) > patience:
		seen.State = Hung
		seen.Cause = fmt.Sprintf("the start job of %s has been running for %s, without a limit", seen.Job.Unit, seen.Job.Running)
		seen.Remedy = remedyJob
		return seen, true
	case w.silent > patience && w.goesOn(seen.Stage):
		seen.State = Hung
		if seen.Cause == "" {
			seen.Cause = fmt.Sprintf("nothing more was said for %s", w.silent.Round(time.Second))
		}
		return seen, true
	default:
		return seen, false
	}
}

// goesOn tells whether the control boot said something in a later stage: only then is there anything to wait for.
func (w *Watcher) goesOn(stage Stage) bool {
	for later := range w.watch.Control {
		if later.rank() > stage.rank() {
			return true
		}
	}
	return false
}

// granted is the patience with a stage.
func (w *Watcher) granted(stage Stage) time.Duration {
	least := w.watch.Patience.Silence
	if stage.rank() >= Initramfs.rank() {
		least = w.watch.Patience.Job
	}
	took, known := w.watch.Control[stage]
	if !known { // it went by unseen, as a part of another one
		for spent := range maps.Values(w.watch.Control) {
			took = max(took, spent)
		}
	}
	return max(least, time.Duration(slower*took*float64(time.Second)))
}
