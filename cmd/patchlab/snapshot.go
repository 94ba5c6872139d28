package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/rundir"
)

// snapshot is the facts of one machine at one time: what `patchlab facts` prints, and what `patchlab diff` compares.
type snapshot struct {
	Source  string       `json:"source"`          // a run's id, USER@HOST or the path of a file
	Phase   string       `json:"phase,omitempty"` // of a run: baseline, apply-openssl, reboot-clean, now
	TakenAt *time.Time   `json:"taken_at,omitempty"`
	BootID  string       `json:"boot_id,omitempty"`
	Facts   fact.Set     `json:"facts"`
	Notes   []probe.Note `json:"notes,omitempty"` // what could not be read

	dir string // of a run
}

// title names a snapshot in a heading.
func (s snapshot) title() string {
	if s.Phase == "" {
		return s.Source
	}
	return s.Source + " " + s.Phase
}

// only leaves the facts of some kinds; none means all.
func (s snapshot) only(kinds []string) snapshot {
	if len(kinds) == 0 {
		return s
	}
	s.Facts = fact.NewSet(slices.DeleteFunc(slices.Clone(s.Facts.All()), func(f fact.Fact) bool {
		return !slices.Contains(kinds, string(f.Kind))
	})...)
	return s
}

// checkKinds refuses kinds that the probe does not know.
func checkKinds(kinds []string) error {
	known := kindNames()
	for _, k := range kinds {
		if !slices.Contains(known, k) {
			return usage(fmt.Errorf("--kind: unknown kind %q (have %s)", k, strings.Join(known, ", ")))
		}
	}
	return nil
}

func kindNames() []string {
	var names []string
	for _, k := range fact.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// snapshot reads what an argument names: a machine as USER@HOST, a file of facts, or a run, at one of its phases or at its
// last one.
func (e *environment) snapshot(ctx context.Context, name, phase string, machine machineOptions) (snapshot, error) {
	if isMachine(name) {
		if phase != "" {
			return snapshot{}, usage(errors.New("--phase goes with a run, not with a machine"))
		}
		return e.liveMachine(ctx, name, machine)
	}
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
		return readFacts(name)
	}
	dir, err := e.findRun(name)
	if err != nil {
		return snapshot{}, err
	}
	return recorded(dir, phase)
}

// Names of phases that no run writes.
const (
	phaseNow  = "now" // the guest that a run has kept, as it is
	phaseLast = ""    // the last one that was recorded
)

// recorded reads the facts of a run at a phase.
func recorded(dir, phase string) (snapshot, error) {
	phases, err := phasesOf(dir)
	if err != nil {
		return snapshot{}, err
	}
	if phase == phaseLast && len(phases) > 0 {
		phase = phases[len(phases)-1]
	}
	switch {
	case len(phases) == 0:
		return snapshot{}, usage(fmt.Errorf("run %s has recorded no facts: it ended before its baseline", filepath.Base(dir)))
	case !slices.Contains(phases, phase):
		return snapshot{}, usage(fmt.Errorf("run %s has no phase %q (have %s)", filepath.Base(dir), phase, strings.Join(phases, ", ")))
	}
	file := filepath.Join(dir, rundir.Facts, phase+".json")
	s, err := readFacts(file)
	s.Source, s.Phase, s.dir = filepath.Base(dir), phase, dir
	return s, err
}

// phasesOf lists the phases whose facts a run recorded, in their order: the unpatched guest first, then as time went.
func phasesOf(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, rundir.Facts))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for the facts of a run: %w", err)
	}
	type phase struct {
		name string
		rank int
		at   time.Time
	}
	unpatched := []string{"baseline", "baseline-second", "control"}
	var found []phase
	for _, entry := range entries {
		name, isFacts := strings.CutSuffix(entry.Name(), ".json")
		info, err := entry.Info()
		if !isFacts || err != nil {
			continue // something half-written, or gone meanwhile
		}
		rank := slices.Index(unpatched, name)
		if rank < 0 {
			rank = len(unpatched)
		}
		found = append(found, phase{name, rank, info.ModTime()})
	}
	slices.SortFunc(found, func(a, b phase) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), a.at.Compare(b.at), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, p := range found {
		names = append(names, p.name)
	}
	return names, nil
}

// readFacts reads a file of facts: what `patchlab facts --output json` has written, or a list as in a run directory. It may
// come from anywhere: it is bounded, and cleaned like what a guest says.
func readFacts(path string) (snapshot, error) {
	file, err := os.Open(path)
	if err != nil {
		return snapshot{}, usage(fmt.Errorf("reading facts: %w", err))
	}
	defer func() { _ = file.Close() }() // only read
	content, err := io.ReadAll(io.LimitReader(file, protocol.MaxDocument+1))
	if err != nil {
		return snapshot{}, fmt.Errorf("reading facts: %w", err)
	}
	if len(content) > protocol.MaxDocument {
		return snapshot{}, usage(fmt.Errorf("reading facts: %s is longer than %d bytes", path, protocol.MaxDocument))
	}
	var s snapshot
	if bytes.HasPrefix(bytes.TrimSpace(content), []byte("[")) {
		err = json.Unmarshal(content, &s.Facts)
	} else {
		err = json.Unmarshal(content, &s)
	}
	if err != nil || s.Facts.Len() == 0 {
		return snapshot{}, usage(errors.Join(
			fmt.Errorf("%s holds no facts: want what `patchlab facts --output json` writes", path), err))
	}
	if s.Facts.Len() > protocol.MaxFacts {
		return snapshot{}, usage(fmt.Errorf("reading facts: %s holds more than %d", path, protocol.MaxFacts))
	}
	clean := make([]fact.Fact, 0, s.Facts.Len())
	for _, f := range s.Facts.All() {
		clean = append(clean, protocol.CleanFact(f))
	}
	s.Facts = fact.NewSet(clean...)
	s.Source, s.Phase = path, ""
	return s, nil
}
