package boot

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Job is one of the init system's that a boot waits for.
type Job struct {
	Unit    string        // its name, or its description where the console shows no more; long ones are shortened with an ellipsis
	Running time.Duration // for so long
	Limit   time.Duration // the init system gives up after that; 0 is never
}

// systemd tells of a job after some seconds, and then anew all the time: by its unit's name or by that one's description. What is
// wider than the console is shortened in the middle.
var (
	jobByName        = regexp.MustCompile(`Job (\S+?)(?:/(?:re)?start|…[^/\s]*t) running \(([^/()]+) / ([^()]+)\)`)
	jobByDescription = regexp.MustCompile(`A start job is running for (.+) \(([^/()]+) / ([^()]+)\)`)
)

// jobOf reads a line that tells of a job that runs.
func jobOf(line string) (job Job, ok bool) {
	for _, form := range []*regexp.Regexp{jobByName, jobByDescription} {
		if found := form.FindStringSubmatch(line); found != nil {
			return Job{Unit: found[1], Running: span(found[2]), Limit: span(found[3])}, true
		}
	}
	return Job{}, false
}

var spanPart = regexp.MustCompile(`([0-9]+)(d|h|min|s)\b`)

// span reads a time as systemd writes it: 1min 30s. "no limit" is 0.
func span(text string) time.Duration {
	units := map[string]time.Duration{"d": 24 * time.Hour, "h": time.Hour, "min": time.Minute, "s": time.Second}
	var sum time.Duration
	for _, part := range spanPart.FindAllStringSubmatch(strings.TrimSpace(text), -1) {
		n, err := strconv.ParseInt(part[1], 10, 32)
		if err == nil {
			sum += time.Duration(n) * units[part[2]]
		}
	}
	return sum
}
