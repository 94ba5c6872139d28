package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/verdict"
)

// Headline is the verdict in one sentence, for somebody who has never heard of patchlab.
func Headline(result Result) string {
	candidate, image := result.Scenario, result.Image.Name
	if result.Vacation {
		return vacation(result)
	}
	switch result.Outcome {
	case verdict.Pass:
		return fmt.Sprintf("PASS: %s is safe on %s: %s", candidate, image, whatWasTried(result))
	case verdict.Regression:
		return fmt.Sprintf("REGRESSION: %s would break %s: %s", candidate, image, worst(result))
	case verdict.ApplyFailed:
		return fmt.Sprintf("APPLY FAILED: %s does not install on %s: %s", candidate, image, worst(result))
	case verdict.BootFailed:
		return fmt.Sprintf("BOOT FAILED: after %s, %s does not start any more: %s", candidate, image, worst(result))
	case verdict.Testbed:
		return "NO VERDICT: the lab failed, which says nothing about the patch: " + cmp.Or(result.Reason, "no reason was recorded")
	case verdict.Interrupted:
		return "INTERRUPTED, no verdict: " + cmp.Or(result.Reason, "stopped by hand")
	default:
		return fmt.Sprintf("NO VERDICT: unknown outcome %q", result.Outcome)
	}
}

// vacation is the headline of a run without a patch.
func vacation(result Result) string {
	image := result.Image.Name
	var ways []string
	for _, b := range result.Boots {
		if isReboot(b) {
			ways = append(ways, wayOf[b.Mode])
		}
	}
	tried := strings.Join(ways, " and ")
	switch result.Outcome {
	case verdict.Pass:
		return fmt.Sprintf("PASS: %s comes back by itself after %s%s", image, tried, remarks(result))
	case verdict.Regression:
		return fmt.Sprintf("REGRESSION: not all of %s comes back by itself after %s: %s", image, tried, worst(result))
	case verdict.BootFailed:
		return fmt.Sprintf("BOOT FAILED: %s does not come back by itself after %s: %s", image, tried, worst(result))
	case verdict.Testbed:
		return "NO VERDICT: the lab failed, which says nothing about the server: " + cmp.Or(result.Reason, "no reason was recorded")
	default:
		return "INTERRUPTED, no verdict: " + cmp.Or(result.Reason, "stopped by hand")
	}
}

// wayOf says a way to reboot in words.
var wayOf = map[string]string{"clean": "a clean reboot", "power-cut": "a power cut", "panic": "a panic"}

// remarks counts what is told below.
func remarks(result Result) string {
	if n := len(result.Findings); n > 0 {
		return ", with " + count(n, "remark") + " below"
	}
	return ", and nothing is missing"
}

// whatWasTried sums up what the clone went through.
func whatWasTried(result Result) string {
	var parts []string
	if n := len(result.Packages); n > 0 {
		parts = append(parts, count(n, "package")+" changed")
	}
	restarted := 0
	for _, r := range result.Advice.Restart {
		if r.Done {
			restarted++
		}
	}
	if restarted > 0 {
		parts = append(parts, count(restarted, "service")+" restarted")
	}
	if n := reboots(result); n > 0 {
		parts = append(parts, count(n, "reboot"))
	}
	end := "nothing broke"
	if n := len(result.Findings); n > 0 {
		end = count(n, "remark") + " below, none of which is an error of the patch"
	}
	return strings.Join(append(parts, end), ", ")
}

func reboots(result Result) int {
	n := 0
	for _, b := range result.Boots {
		if isReboot(b) {
			n++
		}
	}
	return n
}

// isReboot tells a boot that was asked for from that with which the clone began.
func isReboot(b Boot) bool {
	return !slices.Contains([]string{"start", "resume", "control", "fallback", "default", "rescue"}, b.Mode)
}

// worst is the title of the finding that tells most: the first blamed one in the order of events, for what comes later is
// often its consequence.
func worst(result Result) string {
	blamed := slices.DeleteFunc(slices.Clone(result.Findings), func(f verdict.Finding) bool { return !f.Blamed() })
	if len(blamed) == 0 {
		return cmp.Or(result.Reason, "see below")
	}
	first := slices.MinFunc(blamed, func(a, b verdict.Finding) int {
		return cmp.Or(cmp.Compare(rank(result.Outcome, a), rank(result.Outcome, b)), cmp.Compare(a.ID, b.ID))
	})
	if more := len(blamed) - 1; more > 0 {
		return fmt.Sprintf("%s (%s), and %s", first.Title, first.ID, count(more, "more error"))
	}
	return fmt.Sprintf("%s (%s)", first.Title, first.ID)
}

// rank orders findings by when they were seen; for a failed apply or boot its own findings go first.
func rank(outcome verdict.Outcome, f verdict.Finding) int {
	own := map[verdict.Outcome]string{verdict.ApplyFailed: "PL5", verdict.BootFailed: "PL7"}[outcome]
	if f.ID == "PL302" && outcome == verdict.ApplyFailed || own != "" && strings.HasPrefix(f.ID, own) {
		return -1
	}
	order := []string{"prepare", "baseline", "control", "apply", "settle", "audit", "reboot", "compare", "fallback", "rescue", "rollback"}
	return slices.Index(order, f.Phase) + 1
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
