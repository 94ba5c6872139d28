// Package protocol is what the probe in the guest and its client on the host agree on: documents, paths, limits.
package protocol

import (
	"time"

	"github.com/patchlab/patchlab/harness/fact"
)

// Version counts changes in what the probe reads or how it names it. It is written into every document.
const Version = "2"

// Dir is the only directory of the guest below which patchlab writes. It is on a tmpfs: a reboot empties it.
const Dir = "/run/patchlab"

// JobsDir holds a directory for each job.
const JobsDir = Dir + "/jobs"

// The files of a job's directory.
const (
	JobProgram = "run"     // what the job is: an executable that was put there
	JobLog     = "log"     // its output
	JobExit    = "exit"    // its exit code as a decimal number; there only once it ended
	JobLock    = "lock"    // held as long as the job lives
	JobStarted = "started" // made once, by whoever starts the job
)

// Limits of what the host accepts from a guest.
const (
	MaxDocument = 64 << 20 // bytes of a document's JSON
	MaxFacts    = 200_000  // a desktop has half as many files; at 300 bytes each they are a document of that size
	MaxName     = 4096     // bytes of a fact's name
)

// The probe's exit codes beside 0. They come with a line on standard error that starts with [ErrorPrefix], which a job
// cannot write: its output goes to its log.
const (
	ExitUsage   = 2
	ExitNoIndex = 3   // the index of files is not where it should be, or is none
	ExitDied    = 124 // a job ended without telling its exit code
	ExitError   = 125 // the probe could not do what it was asked
)

// ErrorPrefix starts each line that the probe writes about its own failure.
const ErrorPrefix = "patchlab-probe: "

// Document is what one run of the probe read.
type Document struct {
	Probe   string    `json:"probe"`
	BootID  string    `json:"boot_id"`
	TakenAt time.Time `json:"taken_at"` // by the guest's clock
	Facts   fact.Set  `json:"facts"`
	// Files says which further file facts there are; nil from a probe that was asked for none but those below /etc.
	Files *Files `json:"files,omitempty"`
	Notes []Note `json:"notes,omitempty"`
}

// A Note says that facts of a kind are missing, and why.
type Note struct {
	Kind  fact.Kind `json:"kind"`
	Error string    `json:"error"`
}

// Settled is the state of the guest's init system. The guest is settled when there are no jobs and the state is
// running or degraded; see [Settled.Quiet].
type Settled struct {
	BootID string   `json:"boot_id"`
	State  string   `json:"state"` // systemd's word: running, degraded, starting, maintenance, stopping, ...
	Jobs   []Job    `json:"jobs"`  // sorted by unit
	Failed []string `json:"failed"`
	// UptimeSeconds is the time since the kernel started, by the kernel's count.
	UptimeSeconds float64 `json:"uptime"`
	// Logins is how many sessions there are; read only where the question was whether anybody is left.
	Logins int `json:"logins,omitempty"`
}

// Quiet says whether the guest had come to rest.
func (s Settled) Quiet() bool {
	return len(s.Jobs) == 0 && (s.State == "running" || s.State == "degraded")
}

// Job is a queued or running job of the init system.
type Job struct {
	Unit  string `json:"unit"`
	Type  string `json:"type"`  // start, stop, restart, ...
	State string `json:"state"` // running or waiting
}
