package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// againstAutopkgtest compares runs with the same steps by autopkgtest.
func (e *environment) againstAutopkgtest(ctx context.Context, options overheadOptions) (result bench.Against, err error) {
	if options.runs < 1 {
		return result, usage(fmt.Errorf("--runs is %d, want at least 1", options.runs))
	}
	loaded, remove, err := loadAll(e, runOptions{scenarios: []string{options.scenario}, candidate: candidate{image: options.image}})
	defer remove()
	if err != nil {
		return result, usage(err)
	}
	if err := bench.Feasible(loaded[0]); err != nil {
		return result, usage(err)
	}
	programs, err := bench.FindAutopkgtest()
	if err != nil {
		return result, &exitError{code: verdict.Testbed.ExitCode(), err: err}
	}
	sink, endOfProgress := e.sink()
	b := &autopkgtestBench{env: e, scenario: loaded[0], programs: programs, sink: sink}
	result, err = b.measure(ctx, options.runs)
	endOfProgress()
	if err != nil {
		return result, labFault(ctx, err)
	}
	return result, nil
}

// autopkgtestBench is one bench under way.
type autopkgtestBench struct {
	env      *environment
	scenario scenario.Scenario
	programs bench.AutopkgtestPrograms
	sink     progress.Sink

	lab         harness.Lab
	accelerator hypervisor.Accelerator
	slowness    float64
}

// measure runs both sides in turn, when everything is there that is not counted.
func (b *autopkgtestBench) measure(ctx context.Context, runs int) (result bench.Against, err error) {
	open, closing := b.env.sharedHost(b.env.notice)
	defer func() { err = errors.Join(err, closing()) }()
	host, err := open(ctx)
	if err != nil {
		return result, err
	}
	if machine, other := libvirt.Reaches(b.env.Connect); other {
		return result, usage(fmt.Errorf("autopkgtest works on this host, and clones run on %s: run the bench on that machine", machine))
	}
	b.accelerator, b.slowness = host.Accelerator.Best, host.Accelerator.Slowness
	if b.lab, err = b.env.lab(open, b.scenario.Dir); err != nil {
		return result, err
	}
	disk, source, cleanUp, err := b.testbed(ctx)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, cleanUp()) }()
	cold, err := harness.TryClone(ctx, b.lab, b.scenario.Image, harness.TrialOptions{Sink: b.sink, Cold: true})
	if err != nil {
		return result, err
	}
	var rounds []bench.PeerRound
	learned := false
	for len(rounds) < runs {
		round, err := b.round(ctx, disk, source)
		if err != nil {
			return result, err
		}
		if !learned && bench.Learned(round.Run) {
			learned = true // only once: a cache that never fills is the lab's, and a figure
			b.sink.Emit(progress.Event{Kind: progress.Note, Step: "bench", Text: "again: what runs share had to be made first", At: time.Now()})
			continue
		}
		rounds = append(rounds, round)
	}
	result = bench.CompareWith(againstAutopkgtest, rounds, []float64{cold.Answer})
	result.TranslationCacheMiB = translationCache(b.accelerator)
	result.Patchlab.Version, result.Peer.Version = version(), autopkgtestVersion(ctx)
	return result, nil
}

// testbed makes the disk that autopkgtest works on: an export of the image, prepared for it.
func (b *autopkgtestBench) testbed(ctx context.Context) (disk string, source image.Image, cleanUp func() error, err error) {
	source, release, err := b.lab.Image(ctx, b.scenario.Image)
	if err != nil {
		return "", source, nil, err
	}
	if err := release(); err != nil {
		return "", source, nil, err
	}
	if source.Firmware != hypervisor.BIOS {
		return "", source, nil, usage(fmt.Errorf("image %s boots by EFI, for which autopkgtest takes a machine of another kind", source.Name))
	}
	place, cleanUp, err := benchRoom(b.lab.CacheDir, "autopkgtest")
	if err != nil {
		return "", source, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, cleanUp())
		}
	}()
	given, err := bench.Testbed(b.scenario.Image, source.Release, place)
	if err != nil {
		return "", source, nil, err
	}
	made, releaseGiven, err := harness.MakeGiven(ctx, b.lab, given, b.sink)
	if err != nil {
		return "", source, nil, fmt.Errorf("preparing an image for autopkgtest: %w", err)
	}
	disk = filepath.Join(place, "disk.qcow2")
	_, err = image.ExportDisk(ctx, made, disk)
	return disk, source, cleanUp, errors.Join(err, releaseGiven())
}

// round runs both sides.
func (b *autopkgtestBench) round(ctx context.Context, disk string, source image.Image) (round bench.PeerRound, err error) {
	if round.Busy[0], err = bench.Busy(ctx); err != nil {
		return round, err
	}
	watched := &qemuWatch{Sink: b.sink, runsDir: b.lab.RunsDir}
	began := time.Now()
	round.Run, err = harness.Run(ctx, b.lab, b.scenario, harness.RunOptions{Sink: watched})
	round.Wall = time.Since(began).Seconds()
	if err := passed(ctx, round.Run, err); err != nil {
		return round, err
	}
	round.RunQEMU = watched.commandLine()
	if round.Busy[1], err = bench.Busy(ctx); err != nil {
		return round, err
	}
	round.Peer, round.PeerQEMU, err = b.peer(ctx, disk, source, round.Run)
	return round, err
}

// peer does what the run has done, beside its evidence. The lock on its directory tells gc that this is alive.
func (b *autopkgtestBench) peer(
	ctx context.Context, disk string, source image.Image, result report.Result,
) (times []bench.Time, qemu []string, err error) {
	dir, err := lockAgain(ctx, result.RunDir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	todo, err := bench.NewCandidate(result, b.scenario, harness.PackageCache(b.lab.CacheDir), bench.PackagesDir(dir.Path))
	if err != nil {
		return nil, nil, err
	}
	peer := bench.Autopkgtest{
		Programs: b.programs, Disk: disk, MemoryMiB: source.MemoryMiB, VCPUs: source.VCPUs, Accelerator: b.accelerator,
		TranslationCacheMiB: translationCache(b.accelerator), Candidate: todo, Scenario: b.scenario.Name, Dir: dir.Path,
		Bounds: b.lab.Timeouts.Scaled(b.slowness), Sink: b.sink, Now: time.Now,
	}
	return peer.Do(ctx)
}

func autopkgtestVersion(ctx context.Context) string {
	said, err := exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat=${Version}", "autopkgtest").Output()
	if err != nil {
		return "unknown" // not installed as a package
	}
	return strings.TrimSpace(string(said))
}

// qemuWatch is a sink that looks, while the patch is applied, how the QEMU of the run's clone was called.
type qemuWatch struct {
	progress.Sink
	runsDir string

	lock  sync.Mutex
	words []string
}

// Emit looks at the first chance and passes the event on.
func (w *qemuWatch) Emit(event progress.Event) {
	w.Sink.Emit(event)
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.words == nil && event.Kind == progress.Start && strings.HasPrefix(event.Step, "apply ") {
		w.words, _ = bench.CommandLine("-run,", w.runsDir) // without it the result says less, and is right
	}
}

func (w *qemuWatch) commandLine() []string {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.words
}

// autopkgtestTable renders the result for a person.
func autopkgtestTable(a bench.Against) string {
	var table figureTable
	for _, side := range []struct {
		name string
		bench.Side
	}{{"patchlab " + a.Patchlab.Version, a.Patchlab}, {"autopkgtest " + a.Peer.Version, a.Peer}} {
		table.row(side.name)
		for _, step := range side.Steps {
			table.row("  "+strings.TrimSpace(stepTitles[step.Step]+" "+step.Increment), shownSeconds(step.Seconds))
		}
		table.row("in all", shownSeconds(side.Seconds))
	}
	table.row("a cold boot of a clone", shownSeconds(a.ColdBoot))
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s on %s, %d times in turn, seconds\n\n%s\n", a.Scenario, a.Image.Name, a.Runs, &table)
	word := "reached"
	if !a.Reached {
		word = "missed"
	}
	_, _ = fmt.Fprintf(&b, "goal, autopkgtest less 0.7 of a cold boot: %.1f s, %s\n", a.Goal, word)
	b.WriteString("autopkgtest's boot holds what it readies in the guest, and the copy of the packages\n")
	_, _ = fmt.Fprintf(&b, "%s, %s on both sides; %s\n", a.Host.Hypervisor, accelerated(a.Host.Accelerator, a.TranslationCacheMiB), quietness(a.BusyCPUs))
	_, _ = fmt.Fprintf(&b, "\npatchlab's machine: %s\n\nautopkgtest's machine: %s\n\n", strings.Join(a.Patchlab.QEMU, " "), strings.Join(a.Peer.QEMU, " "))
	for _, dir := range a.RunDirs {
		b.WriteString("evidence: " + dir + "\n")
	}
	return b.String()
}
