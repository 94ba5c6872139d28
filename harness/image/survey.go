package image

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/printable"
)

// survey is what a foreign guest says of itself. It is not to be trusted, and was made printable.
type survey struct {
	ID, Codename, System string // of os-release
	Init                 string // the first process
	Systemd              int    // version; 0 without one
	Instance             string // cloud-init's; "" without one
	Agent                bool   // the guest agent runs
	Packager             string // dpkg, rpm or ""
	APT                  bool
	Packages             map[string]string
	Services             []string // running
	Failed               []string
	Console              boot.Stage // how far the last boot came on the serial console
}

const (
	// leastSystemd reads credentials from SMBIOS.
	leastSystemd = 252
	longestWord  = 128
	mostPackages = 20_000 // Debian's whole archive has 60,000, the largest desktop 5,000
	mostUnits    = 1000
)

// survey asks the guest. One that is not run by systemd cannot be used at all.
func (j *importJob) survey(ctx context.Context, m *machine) (survey, error) {
	ctx, cancel := context.WithTimeout(ctx, j.Timeouts.Probe)
	defer cancel()
	command := guest.Command{Line: "sh -s", Stdin: strings.NewReader(surveyScript)}
	result, err := m.conn.Run(ctx, command)
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		return survey{}, fmt.Errorf("asking the guest what it is: %w", err)
	}
	found := parseSurvey(string(result.Stdout))
	if found.Systemd == 0 || found.Init != "systemd" {
		return survey{}, &UnreachableError{Reason: fmt.Sprintf("the guest's init system is %q and not systemd, from which patchlab reads "+
			"services, and when a boot has settled: no run is possible on it", found.Init)}
	}
	return found, nil
}

var wordForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+:~@\\-]*$`)

// parseSurvey reads the lines of hooks/survey.sh, and drops what does not look like an answer.
func parseSurvey(text string) survey {
	found := survey{Packages: map[string]string{}}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if !ok {
			continue
		}
		value = printable.Line(value, longestWord)
		if key == "system" {
			found.System = value
			continue
		}
		name, version, _ := strings.Cut(value, " ")
		if wordForm.MatchString(name) {
			found.take(key, name, version)
		}
	}
	slices.Sort(found.Services)
	slices.Sort(found.Failed)
	return found
}

func (s *survey) take(key, word, rest string) {
	switch key {
	case "id":
		s.ID = word
	case "codename":
		s.Codename = word
	case "init":
		s.Init = word
	case "systemd":
		s.Systemd, _ = strconv.Atoi(word) // 0 is none
	case "instance":
		s.Instance = word
	case "agent":
		s.Agent = true
	case "packager":
		s.Packager = word
	case "apt":
		s.APT = true
	case "package":
		if len(s.Packages) < mostPackages && rest != "" {
			s.Packages[word] = rest
		}
	case "service":
		if len(s.Services) < mostUnits && !ofSession(word) {
			s.Services = append(s.Services, word)
		}
	case "failed":
		if len(s.Failed) < mostUnits {
			s.Failed = append(s.Failed, word)
		}
	}
}

// ofSession tells services that run only because somebody has logged in.
func ofSession(unit string) bool {
	return strings.HasPrefix(unit, "user@") || strings.HasPrefix(unit, "user-runtime-dir@")
}

// record puts the survey of a clone into what the image will say.
func (j *importJob) record(found survey) {
	j.manifest.Distribution, j.manifest.Release = or(found.ID, "unknown"), or(found.Codename, "unknown")
	j.manifest.Services, j.packages = found.Services, found.Packages
	j.imported.System, j.imported.Systemd = found.System, found.Systemd
	j.imported.Lacks = found.lacks(j.access)
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// lacks says what runs on the image will miss.
func (s *survey) lacks(access Access) []string {
	lacks := []string{}
	add := func(missing bool, format string, values ...any) {
		if missing {
			lacks = append(lacks, fmt.Sprintf(format, values...))
		}
	}
	add(!s.Agent, "no guest agent runs: when ssh is gone, nothing can be read from the guest any more "+
		"(mend: install qemu-guest-agent in it and import it again)")
	add(!s.bootShows(), "its boot does not show on the serial console: how far a boot came, and why it ended, cannot be told "+
		"(mend: console=ttyS0 on the kernel's command line)")
	add(access.Way == WayKey, "its clones share one key, %s, which must stay where it is", access.KeyFile)
	add(access.Way != WayCredential && s.Systemd < leastSystemd, "systemd %d takes no credentials: a clone's key is written to its disk",
		s.Systemd)
	add(access.User != root, "everything goes through %s's sudo: a patch that breaks sudo looks like one that breaks the login", access.User)
	add(s.Packager == "", "neither dpkg nor rpm is in it: packages are not compared")
	add(!s.APT, "no APT is in it: increments with apt are not possible")
	add(s.Codename == "", "its os-release names no release: APT suites must be written in full")
	add(len(s.Failed) > 0, "units have failed already: %s", strings.Join(s.Failed, ", "))
	return lacks
}

// bootShows tells whether the console shows more than the firmware's and the boot loader's words.
func (s *survey) bootShows() bool {
	return !slices.Contains([]boot.Stage{"", boot.Firmware, boot.Bootloader, boot.Kernel}, s.Console)
}
