package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Clones are the figures of clones of one image. Their names are the JSON's.
type Clones struct {
	Schema int        `json:"schema"`
	Bench  string     `json:"bench"` // clone
	Image  string     `json:"image"`
	Runs   int        `json:"runs"` // from the template
	Clone  CloneKinds `json:"clone"`
	// Template is what making the template took, nil if it was there.
	Template *Seconds `json:"template,omitempty"`
	// TranslationCacheMiB is the bound of QEMU's cache of translated code, part of the memory; 0 where nothing is translated.
	TranslationCacheMiB int       `json:"translation_cache_mib,omitempty"`
	Accelerator         string    `json:"accelerator"`
	BusyCPUs            []float64 `json:"busy_cpus"` // of the host, before each clone
}

// CloneKinds are clones by the way in which they came to life.
type CloneKinds struct {
	Warm Clone  `json:"warm"`           // going on from the template
	Cold *Clone `json:"cold,omitempty"` // booted
}

// Clone are the figures of clones that came to life in one way. Its own seconds are until the clone could be worked with: it
// answered over ssh and had settled.
type Clone struct {
	*Seconds
	Running *Seconds `json:"running"` // until the domain ran
	// Complete is until the probe that waits in the guest had told a complete set of facts, before anybody logged in; measured with
	// clones of its own.
	Complete *Seconds `json:"complete,omitempty"`
	Answer   *Seconds `json:"answer"` // until the guest answered over ssh
	First    *Seconds `json:"first_capture"`
	Later    *Seconds `json:"later_captures"`
	// Worked is what a single clone holds that was left alone after the captures.
	Worked *Memory `json:"memory_after_captures,omitempty"`
	// Idle is what each further clone holds beside a first one, all of which nobody has used since they came to life.
	Idle *Memory `json:"memory_idle,omitempty"`
}

// Memory is what the QEMUs of clones hold of the host's memory.
type Memory struct {
	Clones int     `json:"clones"` // that were there at once
	Idle   float64 `json:"idle_s"` // how long they had been left alone, at least
	// Pss is memory with pages that several share divided among them (/proc/PID/smaps_rollup).
	Pss *MiB `json:"pss"`
	// Private is the part of it that goes when the clone goes: nobody shares it.
	Private *MiB `json:"private"`
}

// CloneTimes gathers the seconds of clones that came to life in one way.
type CloneTimes struct {
	Running, Complete, Answer, Settled, First, Later []float64
}

// Sum returns the figures.
func (t CloneTimes) Sum() Clone {
	return Clone{
		Seconds: seconds(t.Settled), Running: seconds(t.Running), Complete: seconds(t.Complete), Answer: seconds(t.Answer),
		First: seconds(t.First), Later: seconds(t.Later),
	}
}

// ErrNoProcess means that no QEMU of this host runs a domain.
var ErrNoProcess = errors.New("no QEMU on this host runs it")

// Held is what one QEMU holds, in MiB.
type Held struct{ Pss, Private float64 }

// SumMemory sums up what clones hold that were left alone for a while. Clones counts all that were there at once.
func SumMemory(clones int, idle time.Duration, held []Held) *Memory {
	var pss, private []float64
	for _, one := range held {
		pss, private = append(pss, one.Pss), append(private, one.Private)
	}
	return &Memory{Clones: clones, Idle: idle.Seconds(), Pss: mebibytes(pss), Private: mebibytes(private)}
}

// DomainMemory returns what the QEMU of a domain holds. It reads /proc, which for the processes of others only root may.
func DomainMemory(domain string) (Held, error) {
	process, _, err := findQEMU("\x00guest=" + domain + ",")
	if err != nil {
		return Held{}, fmt.Errorf("reading the memory of %s: %w", domain, err)
	}
	content, err := os.ReadFile(filepath.Join(process, "smaps_rollup"))
	if err != nil {
		return Held{}, fmt.Errorf("reading the memory of %s: %w", domain, err)
	}
	return parseRollup(string(content))
}

// CommandLine returns how a QEMU of this host was called in whose command line all the parts are.
func CommandLine(parts ...string) ([]string, error) {
	_, words, err := findQEMU(parts...)
	if err != nil {
		return nil, fmt.Errorf("reading the command line of QEMU: %w", err)
	}
	return words, nil
}

// findQEMU returns the directory below /proc of a QEMU, and its command line, in which all the parts are.
func findQEMU(parts ...string) (process string, words []string, err error) {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return "", nil, err
	}
	for _, file := range processes {
		line, err := os.ReadFile(file)
		missing := func(part string) bool { return !bytes.Contains(line, []byte(part)) }
		if err != nil || missing("\x00guest=") || slices.ContainsFunc(parts, missing) {
			continue // it has ended, or is another's
		}
		return filepath.Dir(file), strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"), nil
	}
	return "", nil, ErrNoProcess
}

// parseRollup reads /proc/PID/smaps_rollup, see proc(5).
func parseRollup(text string) (Held, error) {
	found := map[string]float64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		const kibibytes = 1024
		value, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return Held{}, fmt.Errorf("reading smaps_rollup: %w", err)
		}
		found[fields[0]] = value / kibibytes
	}
	for _, name := range []string{"Pss:", "Private_Clean:", "Private_Dirty:"} {
		if _, ok := found[name]; !ok {
			return Held{}, fmt.Errorf("reading smaps_rollup: no %s in it", name)
		}
	}
	return Held{Pss: found["Pss:"], Private: found["Private_Clean:"] + found["Private_Dirty:"]}, nil
}
