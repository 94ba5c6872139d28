package progress_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/progress"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func events() []progress.Event {
	return []progress.Event{
		{Kind: progress.Start, Run: "r1", Step: "baseline", At: at(0)},
		{Kind: progress.Note, Run: "r1", Step: "baseline", Text: "2,345 facts \x1b[2Jread", At: at(1)},
		{Kind: progress.Done, Run: "r1", Step: "baseline", At: at(12), Elapsed: 12340 * time.Millisecond},
		{Kind: progress.Skipped, Run: "r1", Step: "control", Text: "cached", At: at(12)},
		{Kind: progress.Failed, Run: "r1", Step: "apply openssl", Text: "dpkg exited with 1", At: at(200), Elapsed: 140 * time.Second},
	}
}

func TestLinesWriteALinePerChange(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	sink := progress.NewLines(&out)
	for _, e := range events() {
		sink.Emit(e)
	}
	sink.Emit(progress.Event{Kind: progress.Start, Run: "r2", Step: "clone", At: at(201)})
	want := `12:00:00 baseline ...
12:00:01 baseline: 2,345 facts read
12:00:12 baseline done, 12.3 s
12:00:12 control skipped: cached
12:03:20 apply openssl FAILED after 140 s: dpkg exited with 1
12:03:21 [r2] clone ...
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestLogWritesDateAndTimeInUTC(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	local := noon.In(time.FixedZone("far", 3600))
	progress.Multi(progress.Discard{}, progress.NewLog(&out)).Emit(progress.Event{Kind: progress.Start, Step: "clone", At: local})
	if want := "2026-11-22T12:00:00.000Z clone ...\n"; out.String() != want {
		t.Errorf("log is %q, want %q", out.String(), want)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestABrokenPipeDoesNotStopTheWork(t *testing.T) {
	t.Parallel()
	progress.NewLines(broken{}).Emit(events()[0])
	live := progress.NewLive(broken{}, func() int { return 80 }, false)
	live.Emit(events()[0])
	live.Close()
}

func TestLiveUpdatesInPlaceAndRestoresTheCursor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		live := progress.NewLive(&out, func() int { return 60 }, false)
		start := time.Now()
		live.Emit(progress.Event{Kind: progress.Start, Step: "baseline", At: start})
		live.Emit(progress.Event{Kind: progress.Note, Step: "baseline", Text: strings.Repeat("long ", 40), At: start})
		time.Sleep(1100 * time.Millisecond) //nolint:forbidigo // the bubble's clock, nothing waits
		synctest.Wait()
		live.Emit(progress.Event{Kind: progress.Start, Step: "suites", At: time.Now()})
		live.Emit(progress.Event{Kind: progress.Done, Step: "baseline", Elapsed: 1100 * time.Millisecond, Text: "2,345 facts"})
		live.Emit(progress.Event{Kind: progress.Skipped, Step: "control", Text: "cached"})
		live.Emit(progress.Event{Kind: progress.Failed, Step: "suites", Elapsed: time.Second, Text: "the process was killed"})
		live.Close()
		live.Close()

		screen := replay(out.String())
		want := []string{
			"✓ baseline                    1.1 s  2,345 facts",
			"- control  cached",
			"✗ suites                      1.0 s  the process was killed",
			"",
		}
		if diff := cmp.Diff(want, screen); diff != "" {
			t.Errorf("screen in the end (-want +got):\n%s", diff)
		}
		if !strings.Contains(out.String(), "baseline                    1.0 s") {
			t.Error("the seconds of the open step were never drawn")
		}
		if !strings.HasPrefix(out.String(), "\x1b[?25l") || !strings.HasSuffix(out.String(), "\x1b[?25h") {
			t.Error("the cursor was not hidden and brought back")
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			if n := len([]rune(line[strings.LastIndex(line, "\x1b[J")+1:])); n > 64 {
				t.Errorf("a line of %d columns wraps in a terminal of 60: %q", n, line)
			}
		}
	})
}

// replay is the little of a terminal that the live view uses: cursor up and clear to the end.
func replay(out string) []string {
	screen := []string{""}
	for out != "" {
		switch {
		case strings.HasPrefix(out, "\x1b[?25l"), strings.HasPrefix(out, "\x1b[?25h"):
			out = out[len("\x1b[?25l"):]
		case strings.HasPrefix(out, "\x1b[J"):
			out = out[len("\x1b[J"):]
		case strings.HasPrefix(out, "\r"):
			screen[len(screen)-1] = ""
			out = out[1:]
		case strings.HasPrefix(out, "\x1b["):
			end := strings.Index(out, "A")
			up := int(out[2] - '0')
			screen = screen[:len(screen)-up]
			out = out[end+1:]
		case strings.HasPrefix(out, "\n"):
			screen = append(screen, "")
			out = out[1:]
		default:
			end := strings.IndexAny(out, "\x1b\r\n")
			if end < 0 {
				end = len(out)
			}
			screen[len(screen)-1] += out[:end]
			out = out[end:]
		}
	}
	return screen
}
