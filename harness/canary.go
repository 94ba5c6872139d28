package harness

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/printable"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
)

// canary is two files in the guest that tell what a power cut was like: one that was flushed to the disk, which has to be there
// after it, and one that was written just before it, which has to be gone.
type canary struct {
	word string // what is in both of them
	dir  string // where they are; "" if there is no place for them
	why  string // there is none
}

// canaryPlaces are where the files may be, the first of them that is on a disk.
var canaryPlaces = []string{"/var/tmp", "/var/lib", "/root"}

// layCanary writes the files. The last word of the guest before the cut is the answer to this. To flush the one commits the journal of
// its file system, which happens every few seconds anyway; the contents of other files stay where they are.
const layCanary = `for d in PLACES; do
  case $(stat -f -c %T "$d" 2>/dev/null) in tmpfs|ramfs|overlayfs|'') continue ;; esac
  printf %s "$word" | dd of="$d/.patchlab-canary-synced" conv=fsync 2>/dev/null || continue
  printf %s "$word" >"$d/.patchlab-canary-unsynced" && { echo "$d"; exit 0; }
done
echo 'none of PLACES is on a disk that can be written to' >&2
exit 1`

// readCanary tells what is left of the files and removes them, then how their file system is mounted.
const readCanary = `for f in synced unsynced; do
  if [ "$(cat "$d/.patchlab-canary-$f" 2>/dev/null)" = "$word" ]; then echo "$f kept"; else echo "$f lost"; fi
  rm -f "$d/.patchlab-canary-$f"
done
findmnt -n -o SOURCE,FSTYPE,OPTIONS -T "$d" 2>/dev/null
cat /etc/ld.so.preload 2>/dev/null
exit 0`

// lay puts the canary's files into the guest. A guest in which there is no place for them is no fault.
func (r *run) lay(ctx context.Context, c *clone) (*canary, error) {
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Command)
	defer cancel()
	laid := &canary{word: rand.Text()}
	result, err := c.conn.Run(ctx, guest.Command{
		Line: "word=" + laid.word + "\n" + strings.ReplaceAll(layCanary, "PLACES", strings.Join(canaryPlaces, " ")),
	})
	if err != nil {
		return nil, fmt.Errorf("writing what a power cut has to keep and to lose: %w", err)
	}
	if result.ExitCode != 0 {
		laid.why = printable.Line(string(result.Stderr), 300)
		return laid, nil
	}
	laid.dir = strings.TrimSpace(string(result.Stdout))
	if !slices.Contains(canaryPlaces, laid.dir) {
		laid.dir, laid.why = "", "the guest does not say where the files are"
	}
	return laid, nil
}

// unflushing are the ways in which a guest does not flush what it is asked to: by the options of its file system, or by a library that
// every program is made to load.
var unflushing = regexp.MustCompile(`\b(nobarrier|barrier=0|eatmydata)\b`)

// read tells what the power cut has left. A flushed file that is lost is the lab's fault, and with it everything that this guest shows:
// unless the guest itself does not flush.
func (r *run) readCanary(ctx context.Context, c *clone, p *phase, laid *canary) (*report.Canary, error) {
	if laid.dir == "" {
		p.note("nothing proves what the power cut kept and lost: %s", laid.why)
		return &report.Canary{Why: laid.why}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Command)
	defer cancel()
	result, err := c.conn.Run(ctx, guest.Command{Line: "word=" + laid.word + " d='" + laid.dir + "'\n" + readCanary})
	if err != nil {
		return nil, fmt.Errorf("reading what the power cut has kept and lost: %w", err)
	}
	const most, longest = 20, 300
	lines := printable.Lines(string(result.Stdout), most, longest)
	told := func(name string) string {
		for _, line := range lines {
			if state, found := strings.CutPrefix(line, name+" "); found && (state == report.Kept || state == report.Lost) {
				return state
			}
		}
		return ""
	}
	found := &report.Canary{Synced: told("synced"), Unsynced: told("unsynced")}
	file := filepath.Join(rundir.PowerCut, strings.ReplaceAll(p.name, " ", "-")+".log")
	text := "two files in " + laid.dir + " before the power cut: one flushed, one not\nwhat the guest says after it:\n" + strings.Join(lines, "\n") + "\n"
	if err := r.dir.Write(file, []byte(text)); err != nil {
		return nil, err
	}
	return found, judgeCanary(p, found, lines, file)
}

func judgeCanary(p *phase, found *report.Canary, lines []string, file string) error {
	careless := unflushing.FindString(strings.Join(lines, "\n"))
	switch {
	case found.Synced == "" || found.Unsynced == "":
		found.Why = "the guest does not say what has become of the files"
	case found.Synced == report.Lost && careless != "":
		found.Why = "the guest does not flush what it is asked to (" + careless + "): a power cut of the real machine loses it as well"
	case found.Synced == report.Lost:
		return fmt.Errorf("the lab lost what the guest had flushed to its disk before the power cut, so that nothing of what is missing now "+
			"tells about the guest; see %s", file)
	case found.Unsynced == report.Kept:
		found.Why = "a file written just before the cut was on the disk already: its file system writes at once, or something else flushed it; " +
			"this cut was milder than one can be"
	}
	if found.Why != "" {
		p.note("power cut: %s; see %s", found.Why, file)
		return nil
	}
	p.note("power cut: what was flushed is there, what was written just before is gone")
	return nil
}
