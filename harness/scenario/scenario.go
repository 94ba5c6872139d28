// Package scenario reads what goes into a run: an image, a candidate in increments, checks and allowances.
package scenario

import (
	"slices"
	"time"
)

// Schema is the version of the scenario file that this package reads.
const Schema = 1

// Scenario is one scenario file after decoding, with its defaults filled in.
type Scenario struct {
	Schema      int         `yaml:"schema"`
	Name        string      `yaml:"name"`
	Description string      `yaml:"description"`
	Image       string      `yaml:"image"`      // a manifest's name, a path to a qcow2, or libvirt:DOMAIN
	Given       *Increment  `yaml:"given"`      // wanted before the baseline
	Hold        []string    `yaml:"hold"`       // connections kept open across the patch: tcp/110
	Increments  []Increment `yaml:"increments"` // in order
	Restart     Restart     `yaml:"restart"`    // default advised
	Reboot      []Reboot    `yaml:"reboot"`     // default [clean]; [] for none
	Rescue      Rescue      `yaml:"rescue"`     // default auto
	Conffiles   Conffiles   `yaml:"conffiles"`  // default keep
	Suites      []string    `yaml:"suites"`     // default all that this version has
	Expect      []Expect    `yaml:"expect"`     // declarative checks
	Allow       []Allowance `yaml:"allow"`      // announced drifts
	Rollback    *Rollback   `yaml:"rollback"`   // default: prove, once that exists
	People      People      `yaml:"people"`     // go to the plan
	Sources     []string    `yaml:"sources"`    // go to the plan
	Timeouts    Timeouts    `yaml:"timeouts"`   // for KVM; scaled by the accelerator's measured speed
	Truth       *Truth      `yaml:"truth"`      // for the zoo
	Dir         string      `yaml:"-"`          // the file's directory: payload paths are relative to it
	Source      []byte      `yaml:"-"`          // the file as read: evidence
}

// Increment is one step of the candidate. Within it: files, then packages, script, restarts.
type Increment struct {
	Name     string    `yaml:"name"`
	APT      *APT      `yaml:"apt"`
	Packages []string  `yaml:"packages"` // .deb or .rpm files or their sources, see [PackageKind]; globs allowed
	RPM      string    `yaml:"rpm"`      // upgrade (default) or install; only for .rpm
	Files    []File    `yaml:"files"`
	Script   string    `yaml:"script"` // non-zero exit = apply failed
	Services *Services `yaml:"services"`
}

// givenName is the name of the given state when the file gives none.
const givenName = "given"

// The ways to install a .rpm package.
const (
	RPMUpgrade = "upgrade" // -U: the old version goes
	RPMInstall = "install" // -i: beside the old version
)

// APT is an update from the distribution's archive.
type APT struct {
	Packages []string `yaml:"packages"` // none = everything pending
	Suite    string   `yaml:"suite"`    // bookworm-security, or a pocket of the image's release: security, updates, backports
	Mode     string   `yaml:"mode"`     // upgrade, with-new-pkgs (default) or full-upgrade
}

// SuiteOn returns the suite for an image of a release: security is bookworm-security on bookworm.
func (a APT) SuiteOn(release string) string {
	if a.IsPocket() {
		return release + "-" + a.Suite
	}
	return a.Suite
}

// IsPocket tells whether the suite names a pocket of whatever release the image has.
func (a APT) IsPocket() bool {
	return slices.Contains([]string{"security", "updates", "backports"}, a.Suite)
}

// File is copied into the guest.
type File struct {
	From  string `yaml:"from"`  // relative to the scenario file
	To    string `yaml:"to"`    // absolute, in the guest
	Mode  string `yaml:"mode"`  // octal, default "0644"
	Owner string `yaml:"owner"` // default root:root
}

// Services are restarted besides what is advised.
type Services struct {
	Restart []string `yaml:"restart"`
}

// Restart says what is restarted after an increment.
type Restart string

// The restart policies.
const (
	RestartAdvised Restart = "advised"
	RestartNone    Restart = "none"
	RestartAll     Restart = "all"
)

// Reboot is a way to reboot.
type Reboot string

// The reboot modes.
const (
	RebootClean    Reboot = "clean"
	RebootPowerCut Reboot = "power-cut"
	RebootPanic    Reboot = "panic"
)

// RebootModes returns the ways to reboot.
func RebootModes() []string {
	return []string{string(RebootClean), string(RebootPowerCut), string(RebootPanic)}
}

// Rescue says whether the ways out of a boot that fails are tried.
type Rescue string

// The policies.
const (
	// RescueAuto boots the previous kernel by its menu entry once the candidate has touched kernels or boot loader, and looks for a
	// way out of a boot that failed.
	RescueAuto  Rescue = "auto"
	RescueNever Rescue = "never"
)

// Conffiles says how dpkg's question about an edited configuration file is answered.
type Conffiles string

// The answers.
const (
	ConffilesKeep    Conffiles = "keep"
	ConffilesReplace Conffiles = "replace"
	ConffilesAsk     Conffiles = "ask" // quoted, and the increment has failed to apply
)

// Expect is one declarative check; exactly one of its fields is set.
type Expect struct {
	Service string   `yaml:"service" json:"service,omitempty"`
	Port    string   `yaml:"port"    json:"port,omitempty"` // tcp/80
	HTTP    *HTTP    `yaml:"http"    json:"http,omitempty"`
	Command *Command `yaml:"command" json:"command,omitempty"`
	File    *Content `yaml:"file"    json:"file,omitempty"`
}

// HTTP expects an answer to a GET request made inside the guest.
type HTTP struct {
	URL      string `yaml:"url"      json:"url"`
	Status   int    `yaml:"status"   json:"status"`             // default 200
	Contains string `yaml:"contains" json:"contains,omitempty"` // in the body
}

// Command expects exit code 0 and, if given, an output.
type Command struct {
	Run    string  `yaml:"run"    json:"run"`
	User   string  `yaml:"user"   json:"user,omitempty"`
	Stdout *string `yaml:"stdout" json:"stdout,omitempty"` // without surrounding white space
}

// Content expects a text in a file.
type Content struct {
	Path     string `yaml:"path"     json:"path"`
	Contains string `yaml:"contains" json:"contains"`
}

// Allowance announces a drift.
type Allowance struct {
	Kind   string `yaml:"kind"`
	Name   string `yaml:"name"`   // glob within path elements; a bare * is refused
	Change string `yaml:"change"` // added, removed or changed; "" = any
	Reason string `yaml:"reason"`
	Owner  string `yaml:"owner"`
	Until  Date   `yaml:"until"` // inclusive
}

// Rollback asks for the proof of the way back.
type Rollback struct {
	Prove bool `yaml:"prove"`
}

// People to call.
type People struct {
	Primary    string   `yaml:"primary"`
	Backup     string   `yaml:"backup"`
	Developers []string `yaml:"developers"`
}

// Timeouts for KVM; zero = patchlab's default.
type Timeouts struct {
	Boot  time.Duration `yaml:"boot"`
	Apply time.Duration `yaml:"apply"`
}

// Truth is what the run must say.
type Truth struct {
	Outcome    string   `yaml:"outcome"`
	Findings   []string `yaml:"findings"`
	Increments []string `yaml:"increments"`
	Phase      string   `yaml:"phase"`
	BootStage  string   `yaml:"boot_stage"`
	// Fallback is what is left to boot beside the patched kernel, and Rescue the way out of a boot that fails. They are silent about
	// what a run without rescue does not try.
	Fallback string `yaml:"fallback"`
	Rescue   string `yaml:"rescue"`
}

// What a truth may say of the ways back.
const (
	FallbackProven = "proven"
	RescueFound    = "found"
)

// LeaveOutRescue makes the scenario try no way back, and say no truth about them.
func (s *Scenario) LeaveOutRescue() {
	s.Rescue = RescueNever
	if s.Truth != nil {
		s.Truth.Fallback, s.Truth.Rescue = "", ""
	}
}

// Date is a day, YYYY-MM-DD.
type Date struct{ time.Time }
