package harness

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// conffileQuestion is where dpkg gives up for want of somebody who answers.
const conffileQuestion = "end of file on stdin at conffile prompt"

var (
	// conffileAsked starts dpkg's question.
	conffileAsked = regexp.MustCompile(`Configuration file '(/[^'\n]+)'`)
	// dpkgFailed is how dpkg says which package it failed with; the next line says why, the ones before are the script's own.
	dpkgFailed = regexp.MustCompile(`dpkg: error processing (?:package|archive) (\S+)`)
)

func (r *run) applyFailed(increment scenario.Increment, code int, output []byte) {
	r.end.ApplyFailed = true
	log := filepath.Join(rundir.Apply, increment.Name+".log")
	cause, lines := whyApplyFailed(output)
	r.judge.Add(withRemedy(verdict.Finding{
		ID: "PL503", Severity: verdict.Error, Phase: "apply", Increment: increment.Name,
		Subject:  fact.Key{Kind: "increment", Name: increment.Name},
		Title:    fmt.Sprintf("increment %s failed to apply: exit code %d", increment.Name, code),
		Cause:    cause,
		Evidence: []verdict.Evidence{{File: log, Lines: lines}},
	}))
	if lines := bootFull(output); len(lines) > 0 {
		r.judge.Add(withRemedy(verdict.Finding{
			ID: "PL704", Severity: verdict.Error, Phase: "apply", Increment: increment.Name,
			Subject:  fact.Key{Kind: fact.KindMount, Name: "/boot"},
			Title:    "there was no room left for the files that the boot needs: " + strings.TrimSpace(lines[0]),
			Evidence: []verdict.Evidence{{File: log, Lines: lines}},
		}))
	}
	if asked := conffileAsked.FindSubmatchIndex(output); asked != nil && bytes.Contains(output, []byte(conffileQuestion)) {
		file := string(output[asked[2]:asked[3]])
		r.judge.Add(withRemedy(verdict.Finding{
			ID: "PL302", Severity: verdict.Error, Phase: "apply", Increment: increment.Name,
			Subject:  fact.Key{Kind: fact.KindFile, Name: file},
			Title:    "the upgrade asks what to do about the edited " + file + ", and nobody answers",
			Evidence: []verdict.Evidence{{File: log, Lines: head(output[asked[0]:], 8)}},
		}))
	}
}

// bootFull returns the lines that tell of a disk that was full while a kernel or an initrd was written, from the first on.
func bootFull(output []byte) []string {
	const most = 5
	all := strings.Split(string(output), "\n")
	i := slices.IndexFunc(all, func(line string) bool { return strings.Contains(line, "No space left on device") })
	if i < 0 {
		return nil
	}
	lines := all[i:min(len(all), i+most)]
	aboutBoot := func(line string) bool {
		return strings.Contains(line, "/boot/") || strings.Contains(line, "initramfs") || strings.Contains(line, "dracut")
	}
	if !slices.ContainsFunc(lines, aboutBoot) {
		return nil
	}
	return lines
}

// whyApplyFailed finds what dpkg says of the first package that failed, and quotes it with what the package's script said
// just before. Other package managers and scripts say it in their last lines.
func whyApplyFailed(output []byte) (cause string, lines []string) {
	const before, after = 2, 2
	all := strings.Split(string(output), "\n")
	i := slices.IndexFunc(all, dpkgFailed.MatchString)
	if i < 0 {
		return "", tail(output, 5)
	}
	cause = dpkgFailed.FindStringSubmatch(all[i])[1]
	if i+1 < len(all) {
		cause += ": " + strings.TrimSpace(all[i+1])
	}
	return cause, all[max(0, i-before):min(len(all), i+after)]
}
