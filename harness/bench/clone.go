package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Clones are the figures of clones of one image, in seconds unless they say otherwise. Their names are the JSON's.
type Clones struct {
	Schema int    `json:"schema"`
	Bench  string `json:"bench"` // clone
	Image  string `json:"image"`
	Runs   int    `json:"runs"` // of either kind, in turn
	// Template is what making the template took, nil if it was there.
	Template *float64 `json:"template_s,omitempty"`
	Warm     Clone    `json:"warm"` // going on from the template
	Cold     *Clone   `json:"cold,omitempty"`
	// TranslationCacheMiB is the bound of QEMU's cache of translated code, part of the memory; 0 where nothing is translated.
	TranslationCacheMiB int       `json:"translation_cache_mib,omitempty"`
	Accelerator         string    `json:"accelerator"`
	BusyCPUs            []float64 `json:"busy_cpus"` // of the host, before each clone
}

// Clone are the figures of clones that came to life in one way.
type Clone struct {
	Running *Figures `json:"running"` // until the domain ran
	// Complete is until the probe that waits in the guest had told a complete set of facts, before anybody logged in; measured with
	// clones of its own.
	Complete *Figures `json:"complete,omitempty"`
	Answer   *Figures `json:"answer"` // until the guest answered over ssh
	Settled  *Figures `json:"settled"`
	First    *Figures `json:"first_capture"`
	Later    *Figures `json:"later_captures"`
	// Memory is what the QEMU of a clone that was left idle holds of the host's memory, pages that it shares with others
	// divided among them (Pss of /proc/PID/smaps_rollup), in MiB.
	Memory *Figures `json:"memory_mib,omitempty"`
}

// CloneTimes gathers the values of clones that came to life in one way.
type CloneTimes struct {
	Running, Complete, Answer, Settled, First, Later, Memory []float64
}

// Sum returns the figures.
func (t CloneTimes) Sum() Clone {
	return Clone{
		Running: figures(t.Running), Complete: figures(t.Complete), Answer: figures(t.Answer), Settled: figures(t.Settled),
		First: figures(t.First), Later: figures(t.Later), Memory: figures(t.Memory),
	}
}

// ErrNoProcess means that no QEMU of this host runs a domain.
var ErrNoProcess = errors.New("no QEMU on this host runs it")

// DomainMemory returns how many MiB the QEMU of a domain holds, see [Clone.Memory]. It reads /proc, which for the processes of
// others only root may.
func DomainMemory(domain string) (float64, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, fmt.Errorf("looking for the QEMU of %s: %w", domain, err)
	}
	for _, process := range processes {
		line, err := os.ReadFile(process)
		if err != nil || !bytes.Contains(line, []byte("\x00guest="+domain+",")) {
			continue // it has ended, or is another's
		}
		content, err := os.ReadFile(filepath.Join(filepath.Dir(process), "smaps_rollup"))
		if err != nil {
			return 0, fmt.Errorf("reading the memory of %s: %w", domain, err)
		}
		return parsePss(string(content))
	}
	return 0, fmt.Errorf("reading the memory of %s: %w", domain, ErrNoProcess)
}

// parsePss reads /proc/PID/smaps_rollup, see proc(5).
func parsePss(rollup string) (float64, error) {
	for line := range strings.Lines(rollup) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "Pss:" && fields[2] == "kB" {
			const kibibytes = 1024
			pss, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return 0, fmt.Errorf("reading smaps_rollup: %w", err)
			}
			return pss / kibibytes, nil
		}
	}
	return 0, errors.New("reading smaps_rollup: no Pss in it")
}
