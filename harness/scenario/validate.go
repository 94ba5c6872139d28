package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/strictyaml"
	"github.com/patchlab/patchlab/harness/verdict"
)

// names of scenarios, increments and images become file names and unit names.
var (
	namePattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	suitePattern = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)
	unitPattern  = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]{1,255}$`)
	ownerPattern = regexp.MustCompile(`^[a-z_][a-z0-9_-]*:[a-z_][a-z0-9_-]*$`)
	modePattern  = regexp.MustCompile(`^0?[0-7]{3,4}$`)
	debPattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?$`)
)

const (
	wantName    = "want small letters, digits, dots and dashes, at most 63"
	unsupported = "is not supported by this version yet"
)

// validator reports what the form of the file does not show. Each method checks one part, and returns nothing:
// the document collects all problems.
type validator struct {
	doc     *strictyaml.Document
	payload payload
}

func (v validator) scenario(s *Scenario) {
	switch {
	case !v.doc.Has("schema"):
		v.doc.Problemf("schema", "is missing: write `schema: %d`", Schema)
	case s.Schema != Schema:
		v.doc.Problemf("schema", "unknown version %d (this patchlab reads %d)", s.Schema, Schema)
	}
	v.name("name", s.Name)
	v.image(s.Image)
	v.given(s)
	v.hold(s.Hold)
	v.increments(s.Increments)
	v.oneOf("restart", string(s.Restart), string(RestartAdvised), string(RestartNone), string(RestartAll))
	v.oneOf("conffiles", string(s.Conffiles), string(ConffilesKeep), string(ConffilesReplace), string(ConffilesAsk))
	v.oneOf("rescue", string(s.Rescue), string(RescueAuto), string(RescueNever))
	v.reboots(s.Reboot)
	v.suites(s.Suites)
	for i, e := range s.Expect {
		v.expectation(fmt.Sprintf("expect[%d]", i), e)
	}
	for i, a := range s.Allow {
		v.allowance(fmt.Sprintf("allow[%d]", i), a)
	}
	if v.doc.Has("timeouts.boot") && s.Timeouts.Boot <= 0 {
		v.doc.Problemf("timeouts.boot", "want more than nothing, not %s", s.Timeouts.Boot)
	}
	if v.doc.Has("timeouts.apply") && s.Timeouts.Apply <= 0 {
		v.doc.Problemf("timeouts.apply", "want more than nothing, not %s", s.Timeouts.Apply)
	}
	v.truth(s)
}

func (v validator) name(path, name string) {
	switch {
	case name == "":
		v.doc.Problemf(path, "is missing")
	case !namePattern.MatchString(name):
		v.doc.Problemf(path, "%q does not do: %s", name, wantName)
	}
}

func (v validator) image(image string) {
	switch {
	case image == "":
		v.doc.Problemf("image", "is missing: `patchlab image list` shows what there is")
	case strings.HasPrefix(image, "libvirt:"):
		v.doc.Problemf("image", "libvirt:DOMAIN %s", unsupported)
	case strings.Contains(image, "/") || strings.HasSuffix(image, ".qcow2"):
		v.doc.Problemf("image", "the path of a disk %s", unsupported)
	case !namePattern.MatchString(image):
		v.doc.Problemf("image", "%q does not do: %s", image, wantName)
	}
}

// given checks the state before the baseline. Its name is only told, and may be left out.
func (v validator) given(s *Scenario) {
	if s.Given == nil {
		return
	}
	if v.doc.Has("given.name") {
		v.name("given.name", s.Given.Name)
	} else {
		s.Given.Name = givenName
	}
	v.step("given", s.Given)
	for i, increment := range s.Increments {
		if increment.Name == s.Given.Name {
			v.doc.Problemf(fmt.Sprintf("increments[%d].name", i), "%q is the name of what is given already", increment.Name)
		}
	}
}

func (v validator) hold(ports []string) {
	for i, port := range ports {
		at := fmt.Sprintf("hold[%d]", i)
		switch {
		case !strings.HasPrefix(port, "tcp/"):
			v.doc.Problemf(at, "%q cannot be held: want a port such as tcp/110", port)
		case slices.Index(ports, port) < i:
			v.doc.Problemf(at, "%q is there twice", port)
		default:
			v.port(at, port)
		}
	}
}

func (v validator) increments(increments []Increment) {
	if len(increments) == 0 {
		v.doc.Problemf("increments", "there is none: want at least one step of the candidate")
	}
	seen := map[string]int{}
	for i := range increments {
		at := fmt.Sprintf("increments[%d]", i)
		v.increment(at, &increments[i])
		name := increments[i].Name
		if first, twice := seen[name]; twice && name != "" {
			v.doc.Problemf(at+".name", "%q is the name of increments[%d] already", name, first)
			continue
		}
		seen[name] = i
	}
}

func (v validator) reboots(modes []Reboot) {
	for i, mode := range modes {
		at := fmt.Sprintf("reboot[%d]", i)
		if slices.Index(modes, mode) < i {
			v.doc.Problemf(at, "%q is there twice", mode)
		}
		v.oneOf(at, string(mode), RebootModes()...)
	}
}

func (v validator) suites(suites []string) {
	later := []string{"storage", "security"}
	for i, suite := range suites {
		at := fmt.Sprintf("suites[%d]", i)
		switch {
		case slices.Index(suites, suite) < i:
			v.doc.Problemf(at, "%q is there twice", suite)
		case strings.Contains(suite, "/"):
			if _, err := v.payload.entry(suite); err != nil {
				v.doc.Problemf(at, "%v", err)
			}
		case slices.Contains(later, suite):
			v.doc.Problemf(at, "%s %s", suite, unsupported)
		default:
			v.oneOf(at, suite, Suites()...)
		}
	}
}

func (v validator) truth(s *Scenario) {
	if s.Truth == nil {
		return
	}
	if s.Truth.Outcome == "" {
		v.doc.Problemf("truth.outcome", "is missing")
	}
	v.oneOf("truth.outcome", s.Truth.Outcome, string(verdict.Pass), string(verdict.Regression),
		string(verdict.ApplyFailed), string(verdict.BootFailed))
	for i, id := range s.Truth.Findings {
		if entry, known := verdict.Lookup(id); !known || entry.ID != id {
			v.doc.Problemf(fmt.Sprintf("truth.findings[%d]", i), "unknown finding %q: `patchlab explain` lists all", id)
		}
	}
	var names []string
	for _, increment := range s.Increments {
		names = append(names, increment.Name)
	}
	for i, name := range s.Truth.Increments {
		v.oneOf(fmt.Sprintf("truth.increments[%d]", i), name, names...)
	}
	v.oneOf("truth.phase", s.Truth.Phase,
		"prepare", "baseline", "control", "apply", "settle", "audit", "reboot", "compare", "rollback")
	v.oneOf("truth.fallback", s.Truth.Fallback, FallbackProven)
	v.oneOf("truth.rescue", s.Truth.Rescue, RescueFound)
	v.oneOf("truth.boot_stage", s.Truth.BootStage,
		"ready", "services", "userspace", "initramfs", "kernel", "bootloader", "firmware")
}

// oneOf reports a value that is set and unknown.
func (v validator) oneOf(path, value string, known ...string) {
	if value == "" || slices.Contains(known, value) {
		return
	}
	hint := ""
	if near, ok := strictyaml.Nearest(value, known); ok {
		hint = fmt.Sprintf("did you mean %q? ", near)
	}
	v.doc.Problemf(path, "unknown value %q (%shave %s)", value, hint, strings.Join(known, ", "))
}
