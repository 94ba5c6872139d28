package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/patch/proxy"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// apply stages and installs one increment, and judges what it did.
func (r *run) apply(ctx context.Context, c *clone, increment scenario.Increment) error {
	return r.phase("apply", increment.Name, func(p *phase) error {
		job, applied, err := r.put(ctx, c, p, patch.Stager{Conffiles: r.scenario.Conffiles, Lists: protocol.Dir + "/lists"}, increment)
		if refused, ok := errors.AsType[*patch.RefusedError](err); ok {
			return r.refused(refused, increment)
		}
		if err != nil {
			return err
		}
		r.lock(job)
		r.judge.Put(increment.Name, job.Files...)
		previous := r.facts
		if r.facts, err = r.capture(ctx, c, p, "apply-"+increment.Name); err != nil {
			return err
		}
		r.noteBootChange(increment.Name, previous)
		if err := r.judgeAt(ctx, c, judge.Boundary{
			Phase: "apply", Increment: increment.Name, RestartsPending: true, Facts: r.facts,
		}, "apply-"+increment.Name); err != nil {
			return err
		}
		r.tellEnded(c, "apply", increment.Name)
		if applied.code != 0 {
			r.applyFailed(increment, applied.code, applied.output)
			return nil
		}
		return r.changedSomething(previous, job, increment)
	})
}

// applied is how a job ended in the guest.
type applied struct {
	code   int
	output []byte
}

// put stages an increment, installs it and takes away what was staged. The stager brings what is special about the increment.
func (r *run) put(
	ctx context.Context, c *clone, p *phase, stager patch.Stager, increment scenario.Increment,
) (job patch.Job, done applied, err error) {
	stager.Dir, stager.Release = r.scenario.Dir, r.image.Release
	stager.Conn, stager.Built = c.conn, r.built[increment.Name]
	_, err = p.step("stage", func() (err error) {
		job, err = r.stage(ctx, c, stager, increment)
		return err
	})
	if err != nil {
		return job, done, err
	}
	p.note("staged %s", strings.Join(job.Staged, " "))
	if done.code, done.output, err = r.install(ctx, c, job, p); err != nil {
		return job, done, err
	}
	return job, done, r.overCut(ctx, c, p, func() error {
		stager.Conn = c.conn // it may be another one by now
		return stager.Clean(ctx, job)
	})
}

// lock remembers what exactly is under test.
func (r *run) lock(job patch.Job) {
	digests := maps.Clone(job.Digests)
	if r.served != nil {
		maps.Copy(digests, r.served.Packages())
	}
	for name, digest := range digests {
		r.locked = append(r.locked, digest+" "+name)
	}
}

// stage copies the increment into the guest. Its packages come through a proxy that lives on the one ssh connection, for
// the clone has no other way out.
func (r *run) stage(ctx context.Context, c *clone, stager patch.Stager, increment scenario.Increment) (patch.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Stage)
	defer cancel()
	if increment.APT == nil {
		return stager.Stage(ctx, increment)
	}
	address, stop, err := r.serveProxy(ctx, c)
	if err != nil {
		return patch.Job{}, err
	}
	defer stop()
	stager.Proxy = address
	job, err := stager.Stage(ctx, increment)
	if unfetched := (*patch.FetchError)(nil); errors.As(err, &unfetched) && r.served.Distrust() > 0 {
		job, err = stager.Stage(ctx, increment) // without what was wrong in the cache
	}
	if failures := r.served.Errors(); aptFailed(err) && len(failures) > 0 {
		// APT failed because the proxy could not serve it: that is the lab's fault.
		return patch.Job{}, fmt.Errorf("the package mirror does not answer: %w; check the host's network and APT "+
			"configuration, or name a mirror in %s", failures[0], mirror.Variable)
	}
	return job, err
}

// PackageCache is where downloaded packages are kept below the cache's directory.
func PackageCache(cacheDir string) string { return filepath.Join(cacheDir, "packages") }

func aptFailed(err error) bool {
	var refused *patch.RefusedError
	var unfetched *patch.FetchError
	var wrong *patch.ScenarioError
	return errors.As(err, &refused) || errors.As(err, &unfetched) || errors.As(err, &wrong)
}

func (r *run) serveProxy(ctx context.Context, c *clone) (address string, stop func(), err error) {
	listening, ok := c.conn.(guest.Listener)
	if !ok {
		return "", nil, errors.New("the connection to the guest cannot carry the package proxy")
	}
	known, err := r.lab.Mirror(ctx)
	if err != nil {
		return "", nil, err
	}
	upstreams := map[string]string{"/debian/": known.Main}
	if known.Security != "" {
		upstreams["/debian-security/"] = known.Security
	}
	r.served, err = proxy.New(proxy.Config{
		Upstreams: upstreams, CacheDir: PackageCache(r.lab.CacheDir), Log: r.downloads,
	})
	if err != nil {
		return "", nil, err
	}
	listener, err := listening.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("opening the package proxy in the guest: %w", err)
	}
	serving, stop := context.WithCancel(ctx)
	go func() { _ = r.served.Serve(serving, listener) }() // what fails shows in the downloads
	return listener.Addr().String(), stop, nil
}

// install runs the job that applies the increment, and keeps its output.
func (r *run) install(ctx context.Context, c *clone, job patch.Job, p *phase) (code int, output []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Apply)
	defer cancel()
	_, err = p.step("install", func() error {
		code, output, err = r.runJob(ctx, c, p, guestJob{name: jobName(job.Name), script: job.Script, bound: r.bounds.Apply})
		return err
	})
	if writeErr := r.dir.Write(filepath.Join(rundir.Apply, job.Name+".log"), output); writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("applying increment %s: %w", job.Name, err)
	}
	return code, output, nil
}

// jobName makes an increment's name a word that may be part of a unit's name.
func jobName(increment string) string {
	return regexp.MustCompile(`[^a-zA-Z0-9.-]+`).ReplaceAllString(increment, "-")
}

// refused is an increment that the package manager would not even begin to install.
func (r *run) refused(e *patch.RefusedError, increment scenario.Increment) error {
	file := filepath.Join(rundir.Apply, increment.Name+".log")
	if err := r.dir.Write(file, []byte(e.Output)); err != nil {
		return err
	}
	if strings.Contains(e.Output, "Unable to locate package") {
		return &patch.NothingError{Increment: increment.Name, Installed: "a package of that name is in no archive: " +
			strings.Join(increment.APT.Packages, ", ")}
	}
	r.applyFailed(increment, 100, []byte(e.Output))
	return nil
}

func withRemedy(f verdict.Finding) verdict.Finding {
	if entry, known := verdict.Lookup(f.ID); known {
		f.Remedy = entry.Remedy
	}
	return f
}

// changedSomething refuses an increment after which the guest is as before: an empty candidate never passes.
func (r *run) changedSomething(previous fact.Set, job patch.Job, increment scenario.Increment) error {
	volatile := drift.Learn(r.known.Baseline, r.known.Second, r.known.Control)
	for _, d := range drift.Compare(previous, r.facts) {
		if r.facts.ServesConnection(d.Key.UnitOf()) || previous.ServesConnection(d.Key.UnitOf()) {
			continue // a client's, not the candidate's
		}
		if job.OnlyPackages && d.Key.Kind != fact.KindPackage || volatile.Explains(d) {
			continue
		}
		if d.Key.Kind == fact.KindFile && judge.IsData(d.Key.Name) {
			continue // logs are written whatever is applied
		}
		return nil
	}
	installed := "what was there before"
	if increment.APT != nil {
		installed = strings.Join(increment.APT.Packages, ", ") + " as before"
	}
	return &patch.NothingError{Increment: increment.Name, Installed: installed}
}

// tail and head quote lines of an output as evidence.
func tail(output []byte, n int) []string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return lines[max(0, len(lines)-n):]
}

func head(output []byte, n int) []string {
	lines := strings.Split(string(output), "\n")
	return lines[:min(n, len(lines))]
}
