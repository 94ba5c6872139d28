// Package patch turns one increment of a candidate into files that are staged in a guest and a job that applies
// them there without any network.
//
// Staging may fail because of the lab (the mirror, the connection) or because of the candidate (it does not exist, its
// dependencies cannot be met); the errors tell which.
package patch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/scenario"
)

// stageRoot is where increments lie in the guest until they are applied: on disk, for a kernel does not fit into /run.
const stageRoot = "/var/cache/patchlab"

// maxKeptLists bounds the lists that are kept in the guest's memory, in KiB: those of a security pocket are 1 to 2 MiB, those of a
// whole release 50.
const maxKeptLists = 8 << 10

// Candidate's faults and empty candidates, told apart from faults of the lab.
type (
	// RefusedError says that the guest's package manager cannot install the increment as it is.
	RefusedError struct {
		Increment string
		Output    string // what the package manager said, bounded
	}
	// FetchError says that what the increment needs did not come whole and signed through the proxy: the lab's fault.
	FetchError struct {
		Increment string
		Output    string // what the package manager said, bounded
	}
	// NothingError says that the increment would change nothing: there is nothing to test.
	NothingError struct {
		Increment string
		Installed string // the versions that are installed
	}
)

// ScenarioError says that the scenario itself is at fault, neither its candidate nor the lab: a package's source that does not
// build, a given state that cannot be made, a guest that lacks what the increment needs.
type ScenarioError struct {
	Increment string
	Reason    string
}

func (e *ScenarioError) Error() string { return "increment " + e.Increment + ": " + e.Reason }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("increment %s cannot be installed: %s", e.Increment, lastLines(e.Output, 3))
}

func (e *FetchError) Error() string {
	remedy := "the mirror may be in the middle of an update: try again later"
	if strings.Contains(e.Output, "not valid yet") || strings.Contains(e.Output, "is expired") {
		remedy = "a guest takes its time from this host: set its clock"
	}
	return fmt.Sprintf("fetching what increment %s needs: %s; %s", e.Increment, lastLines(e.Output, 3), remedy)
}

func (e *NothingError) Error() string {
	return fmt.Sprintf("increment %s changes nothing, so there is nothing to test; installed: %s", e.Increment, e.Installed)
}

// Stager prepares increments in one guest.
type Stager struct {
	Conn      guest.Conn
	Dir       string // the scenario's directory: payload paths are relative to it
	Conffiles scenario.Conffiles
	Release   string // the guest's own release, whose pocket may have to supply a new dependency
	// Built are the package files on the host that [Builder.Build] made, by the entry of the increment's packages.
	Built map[string]string
	// Anew also installs packages that the guest does not have yet, and takes what it has already for granted.
	Anew bool
	// Proxy is the address inside the guest at which the package proxy listens.
	Proxy string
	// Lists begins the names of directories in the guest, in memory, where APT's lists are kept for the next increment if they are
	// small: all increments of a run see one state of the archive, and only the first waits for it. With "" each fetches its own.
	Lists string
}

// Job applies one increment: the content of a script for the guest, run as its administrator.
type Job struct {
	Name   string
	Script string
	// Staged are the names of what was staged, for the record.
	Staged []string
	// Digests are the payload files' SHA-256 digests in hexadecimal, by name: what is tested is what may be deployed.
	Digests map[string]string
	// Files are the guest's paths that the increment puts by its own declaration.
	Files []string
	// OnlyPackages is true when the increment does nothing but install packages.
	OnlyPackages bool
	dir          string
}

// Stage copies everything that the increment needs into the guest and returns the job that applies it offline.
func (s Stager) Stage(ctx context.Context, increment scenario.Increment) (Job, error) {
	job := Job{
		Name: increment.Name, dir: path.Join(stageRoot, increment.Name), Digests: map[string]string{},
		OnlyPackages: increment.Script == "" && len(increment.Files) == 0 && increment.Services == nil,
	}
	var script strings.Builder
	script.WriteString("#!/bin/sh\n# The increment " + oneLine(increment.Name) + ", offline.\nset -eu\n")
	fmt.Fprintf(&script, "export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root APT_CONFIG=%s\n",
		quote(path.Join(job.dir, "apt.conf")))
	for _, part := range []func(context.Context, scenario.Increment, *Job) (string, error){
		s.stageFiles, s.stageAPT, s.stageDebs, s.stageRPMs, s.stageScript,
	} {
		lines, err := part(ctx, increment, &job)
		if err != nil {
			return Job{}, err
		}
		script.WriteString(lines)
	}
	if increment.Services != nil && len(increment.Services.Restart) > 0 {
		script.WriteString("systemctl restart --" + quoteAll(increment.Services.Restart) + "\n")
	}
	job.Script = script.String()
	return job, nil
}

// Clean removes what was staged, so that it does not count as a change of the guest.
func (s Stager) Clean(ctx context.Context, job Job) error {
	command := guest.Command{Line: "rm -rf -- " + quote(job.dir) + "; rmdir --ignore-fail-on-non-empty " + stageRoot}
	result, err := s.Conn.Run(ctx, command)
	if err != nil {
		return fmt.Errorf("removing what was staged: %w", err)
	}
	return result.Err(command)
}

func (s Stager) stageFiles(ctx context.Context, increment scenario.Increment, job *Job) (string, error) {
	var lines strings.Builder
	for i, f := range increment.Files {
		staged := path.Join(job.dir, fmt.Sprintf("file-%d", i))
		if err := s.put(ctx, filepath.Join(s.Dir, f.From), staged, job); err != nil {
			return "", err
		}
		owner, group, _ := strings.Cut(f.Owner, ":")
		fmt.Fprintf(&lines, "install -D -m %s -o %s -g %s -- %s %s\n",
			quote(f.Mode), quote(owner), quote(group), quote(staged), quote(f.To))
		job.Files = append(job.Files, f.To)
	}
	return lines.String(), nil
}

func (s Stager) stageScript(ctx context.Context, increment scenario.Increment, job *Job) (string, error) {
	if increment.Script == "" {
		return "", nil
	}
	staged := path.Join(job.dir, "script", filepath.Base(increment.Script))
	if err := s.put(ctx, filepath.Join(s.Dir, increment.Script), staged, job); err != nil {
		return "", err
	}
	return fmt.Sprintf("cd %s\nchmod 0755 %s\n%s\n", quote(path.Dir(staged)), quote(staged), quote(staged)), nil
}

func (s Stager) put(ctx context.Context, from, to string, job *Job) error {
	content, err := openPayload(from)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // it was only read
	hash := sha256.New()
	if err := s.Conn.Put(ctx, to, 0o600, io.TeeReader(content, hash)); err != nil {
		return fmt.Errorf("staging %s: %w", from, err)
	}
	job.Digests[filepath.Base(from)] = hex.EncodeToString(hash.Sum(nil))
	job.Staged = append(job.Staged, filepath.Base(from))
	return nil
}

func (s Stager) putText(ctx context.Context, to, text string) error {
	if err := s.Conn.Put(ctx, to, 0o600, strings.NewReader(text)); err != nil {
		return fmt.Errorf("staging %s: %w", to, err)
	}
	return nil
}
