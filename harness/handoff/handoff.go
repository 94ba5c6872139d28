package handoff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/scenario"
)

// Env is the environment variable that names the handoff file.
const Env = "PATCHLAB_HANDOFF"

// Schema is the version of [Handoff]. A suite compiled with another version is refused, not misread.
const Schema = 1

// maxSize bounds a handoff file. Two sets of facts with the texts of /etc are about 5 MB for a lean Debian.
const maxSize = 256 << 20

// Handoff is what a suite process gets to know.
type Handoff struct {
	Schema int    `json:"schema"`
	Phase  string `json:"phase"` // "baseline", "apply openssl", "reboot"
	// Reboot is how this phase rebooted the guest, "" if it did not.
	Reboot string `json:"reboot,omitempty"`
	// Boots of this clone that settled, in order. The last one is the boot in which the facts were taken.
	Boots    []Boot        `json:"boots,omitempty"`
	Baseline fact.Set      `json:"baseline"`
	Facts    fact.Set      `json:"facts"`            // of this phase
	Drifts   []drift.Drift `json:"drifts,omitempty"` // from Baseline to Facts, classed
	// Packages that the candidate moved up to this phase.
	Packages []Package `json:"packages,omitempty"`
	// Expect is checked by one spec for each, labelled with its index ([ExpectLabel]).
	Expect []scenario.Expect `json:"expect,omitempty"`
	// Suites are the names of built-in suites to run.
	Suites []string `json:"suites,omitempty"`
	// Labels is a ginkgo label filter, "" for every spec.
	Labels string `json:"labels,omitempty"`
	// Patience bounds what one spec may take, scaled by the speed of the guest. 0 is [DefaultPatience].
	Patience time.Duration `json:"patience,omitempty"`
	// Socket is where the guest is served, "" for no guest: then only the facts can be judged.
	Socket string `json:"socket,omitempty"`
	// Report is the path for ginkgo's JSON report, set by the runner.
	Report string `json:"report,omitempty"`
}

// DefaultPatience is generous for a spec that asks a guest under emulation a few questions of 0.1 s to some seconds.
const DefaultPatience = 2 * time.Minute

// Boot is one boot that settled.
type Boot struct {
	ID      string  `json:"id"`   // the kernel's boot_id
	Mode    string  `json:"mode"` // start, control, clean, power-cut
	Seconds float64 `json:"seconds"`
}

// Package is one package that the candidate moved.
type Package struct {
	Name      string `json:"name"`           // NAME:ARCH
	From      string `json:"from,omitempty"` // "" = new
	To        string `json:"to,omitempty"`   // "" = removed
	Increment string `json:"increment"`
}

// ExpectLabel is the label of the spec that checks Expect[i].
func ExpectLabel(i int) string { return fmt.Sprintf("expect-%d", i) }

// Write puts the handoff into a file, whole or not at all. The schema is filled in.
func (h Handoff) Write(path string) error {
	h.Schema = Schema
	if err := h.validate(); err != nil {
		return fmt.Errorf("writing the handoff: %w", err)
	}
	content, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("writing the handoff: %w", err)
	}
	// Facts hold what only the guest's administrator may read, and the socket's name is a key to the guest.
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return fmt.Errorf("writing the handoff: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("writing the handoff: %w", errors.Join(err, os.Remove(temporary)))
	}
	return nil
}

// Read reads a handoff file. Unknown fields and another schema are refused.
func Read(path string) (Handoff, error) {
	file, err := os.Open(path)
	if err != nil {
		return Handoff{}, fmt.Errorf("reading the handoff: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	content, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return Handoff{}, fmt.Errorf("reading the handoff: %w", err)
	}
	h, err := Parse(content)
	if err != nil {
		return Handoff{}, fmt.Errorf("reading the handoff %s: %w", path, err)
	}
	return h, nil
}

// Parse reads the content of a handoff file.
func Parse(content []byte) (Handoff, error) {
	if len(content) > maxSize {
		return Handoff{}, fmt.Errorf("longer than %d bytes", maxSize)
	}
	// The schema first: of another version, "unknown field" would say less.
	var version struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(content, &version); err != nil {
		return Handoff{}, err
	}
	if version.Schema != Schema {
		return Handoff{}, fmt.Errorf("schema %d, but this suite was built for schema %d: build it again with this patchlab's suites/lab",
			version.Schema, Schema)
	}
	var h Handoff
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&h); err != nil {
		return Handoff{}, err
	}
	return h, h.validate()
}

// validate reports all that is wrong.
func (h Handoff) validate() error {
	var wrong []error
	if h.Phase == "" {
		wrong = append(wrong, errors.New("phase: missing"))
	}
	classes := []drift.Class{drift.Unclassed, drift.Expected, drift.Volatile, drift.Allowed, drift.Finding}
	changes := []drift.Change{drift.Added, drift.Removed, drift.Changed}
	for i, d := range h.Drifts {
		if !slices.Contains(classes, d.Class) {
			wrong = append(wrong, fmt.Errorf("drifts[%d].class: unknown class %q", i, d.Class))
		}
		if !slices.Contains(changes, d.Change) {
			wrong = append(wrong, fmt.Errorf("drifts[%d].change: unknown change %q", i, d.Change))
		}
	}
	for i, b := range h.Boots {
		if b.ID == "" {
			wrong = append(wrong, fmt.Errorf("boots[%d].id: missing", i))
		}
	}
	if h.Patience < 0 {
		wrong = append(wrong, fmt.Errorf("patience: %s is negative", h.Patience))
	}
	return errors.Join(wrong...)
}

// Names of the entries in ginkgo's report by which a suite process tells more than text.
const (
	// EntrySubjects holds the keys of the facts that a failed spec is about, as a JSON list.
	EntrySubjects = "patchlab-subjects"
	// EntryLost says that the guest could not be asked: the lab's fault.
	EntryLost = "patchlab-guest-lost"
)
