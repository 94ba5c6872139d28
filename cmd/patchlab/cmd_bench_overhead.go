package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
	"github.com/patchlab/patchlab/harness/wait"
)

const overheadLong = `Run a scenario, and then do the same by hand: with the programs virsh, ssh and scp, on a domain of the same shape on the same
image, the same packages are copied, installed with dpkg, the same units restarted, the guest rebooted and checked. The table
says how long each step took on either side, and what patchlab does beyond. Its downloads are not repeated by hand: the packages
come from patchlab's cache.

By hand there is one ssh connection for each command, as people work. A boot by hand ends with the first answer over ssh; patchlab's
ends when the guest has settled. By hand that is waited for in the check.

With --against autopkgtest the same steps are done by Debian's autopkgtest with its qemu server, on an exported copy of the image in
which Python and a root shell on a second console were put before; neither that nor the export is counted.

The scenario has to pass, and its increments have to be packages of apt. The evidence of both sides is in the run's directory.`

const overheadExample = `  patchlab bench overhead
  patchlab bench overhead openssl-nginx --runs 3 --output json > overhead.json
  patchlab bench overhead --against autopkgtest`

// overheadOptions are the flags of `patchlab bench overhead`.
type overheadOptions struct {
	scenario string
	image    string
	runs     int
	against  string
}

// What a run is compared with.
const (
	againstHand        = "hand"
	againstAutopkgtest = "autopkgtest"
)

// overheadDefaults are the options of so many runs.
func overheadDefaults(runs int) overheadOptions {
	return overheadOptions{scenario: "openssl-nginx", runs: runs, against: againstHand}
}

func newOverheadCommand(env *environment) *cobra.Command {
	options := overheadDefaults(1)
	cmd := &cobra.Command{
		Use:     "overhead [SCENARIO]",
		Short:   "Compare the seconds of a run with those of the same steps by ssh and virsh, or by autopkgtest",
		Long:    overheadLong,
		Example: overheadExample,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				options.scenario = args[0]
			}
			return env.compare(cmd.Context(), options)
		},
	}
	cmd.Flags().StringVar(&options.image, "image", "", "the `IMAGE` to clone, in place of the scenario's")
	cmd.Flags().IntVar(&options.runs, "runs", options.runs, "how often, in turn, either side is measured (`N`)")
	cmd.Flags().StringVar(&options.against, "against", options.against, "what to compare with: hand, autopkgtest (`WHAT`)")
	complete(cmd, "against", againstHand, againstAutopkgtest)
	completeImage(env, cmd)
	return cmd
}

// compare measures against what was asked for.
func (e *environment) compare(ctx context.Context, options overheadOptions) error {
	switch options.against {
	case againstHand:
		result, err := e.overhead(ctx, options)
		if err != nil {
			return err
		}
		return e.render(result, text(overheadTable(result)))
	case againstAutopkgtest:
		result, err := e.againstAutopkgtest(ctx, options)
		if err != nil {
			return err
		}
		return e.render(result, text(autopkgtestTable(result)))
	default:
		return usage(unknownPeer(options.against))
	}
}

func unknownPeer(name string) error {
	return fmt.Errorf("--against: want %s or %s, not %q", againstHand, againstAutopkgtest, name)
}

func (e *environment) overhead(ctx context.Context, options overheadOptions) (result bench.Overhead, err error) {
	if options.runs < 1 {
		return result, usage(fmt.Errorf("--runs is %d, want at least 1", options.runs))
	}
	loaded, remove, err := loadAll(e, runOptions{scenarios: []string{options.scenario}, candidate: candidate{image: options.image}})
	defer remove()
	if err != nil {
		return result, usage(err)
	}
	s := loaded[0]
	if err := bench.Feasible(s); err != nil {
		return result, usage(err)
	}
	programs, err := bench.FindPrograms()
	if err != nil {
		return result, &exitError{code: verdict.Testbed.ExitCode(), err: err}
	}
	sink, endOfProgress := e.sink()
	b := &overheadBench{env: e, scenario: s, programs: programs, sink: sink}
	pairs, err := b.measure(ctx, options.runs)
	endOfProgress()
	if err != nil {
		return result, labFault(ctx, err)
	}
	result = bench.Compare(pairs)
	result.SSH, result.Virsh = programs.Versions(ctx)
	result.TranslationCacheMiB = translationCache(b.accelerator)
	return result, nil
}

// overheadBench is one bench under way.
type overheadBench struct {
	env      *environment
	scenario scenario.Scenario
	programs bench.Programs
	sink     progress.Sink

	accelerator hypervisor.Accelerator
}

// measure runs both sides in turn. The libvirt is reached, or started, before the first clock runs.
func (b *overheadBench) measure(ctx context.Context, runs int) (pairs []bench.Pair, err error) {
	open, closing := b.env.sharedHost(b.env.notice)
	defer func() { err = errors.Join(err, closing()) }()
	host, err := open(ctx)
	if err != nil {
		return nil, err
	}
	driver, ok := host.Driver.(*libvirt.Driver)
	if machine, other := libvirt.Reaches(b.env.Connect); other || !ok {
		return nil, usage(fmt.Errorf("on %s nothing is done by hand from here: run the bench on that machine", machine))
	}
	b.accelerator = host.Accelerator.Best
	lab, err := b.env.lab(open, b.scenario.Dir)
	if err != nil {
		return nil, err
	}
	for range runs {
		var pair bench.Pair
		if pair.Busy[0], err = bench.Busy(ctx); err != nil {
			return nil, err
		}
		began := time.Now()
		pair.Run, err = harness.Run(ctx, lab, b.scenario, harness.RunOptions{Sink: b.sink})
		pair.Wall = time.Since(began).Seconds()
		if err := passed(ctx, pair.Run, err); err != nil {
			return nil, err
		}
		if pair.Busy[1], err = bench.Busy(ctx); err != nil {
			return nil, err
		}
		if pair.ByHand, err = b.byHand(ctx, lab, host, driver, pair.Run); err != nil {
			return nil, err
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
}

// passed refuses to measure what went wrong.
func passed(ctx context.Context, result report.Result, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && result.Run == "":
		return err // there was no room for it
	case err != nil:
		return usage(err) // the scenario's fault: what is the lab's ends with an outcome
	case result.Outcome != verdict.Pass:
		return &exitError{code: result.Outcome.ExitCode(), err: fmt.Errorf("there is nothing to compare with: %s (evidence: %s)",
			report.Headline(result), result.RunDir)}
	}
	return nil
}

// labFault gives what failed the exit code of a lab that did, unless it has its own or was interrupted.
func labFault(ctx context.Context, err error) error {
	if _, has := errors.AsType[*exitError](err); has || ctx.Err() != nil {
		return err
	}
	return &exitError{code: verdict.Testbed.ExitCode(), err: err}
}

// byHand does what the run has done, beside its evidence. The lock on its directory tells gc that this is alive.
func (b *overheadBench) byHand(
	ctx context.Context, lab harness.Lab, host harness.Host, driver *libvirt.Driver, result report.Result,
) (times []bench.Time, err error) {
	dir, err := lockAgain(ctx, result.RunDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	source, release, err := lab.Image(ctx, b.scenario.Image)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if user := source.Access.Login(); user != "root" {
		return nil, usage(fmt.Errorf("image %s is reached as %s, and by hand everything is done as root", source.Name, user))
	}
	access, err := newAccess(source.Access, nil)
	if err != nil {
		return nil, err
	}
	domain, err := plainDomain(source, access, host, driver, dir)
	if err != nil {
		return nil, err
	}
	todo, err := bench.NewCandidate(result, b.scenario, harness.PackageCache(lab.CacheDir), bench.PackagesDir(dir.Path))
	if err != nil {
		return nil, err
	}
	hand := bench.Hand{
		Programs: b.programs, Domain: domain, Candidate: todo, Scenario: b.scenario.Name, Dir: dir.Path, Sink: b.sink, Now: time.Now,
		Login:  bench.Login{PrivateKey: access.PrivateKey, HostKey: source.HostKey},
		Bounds: lab.Timeouts.Scaled(host.Accelerator.Slowness),
	}
	return hand.Do(ctx)
}

// lockAgain locks the directory of a run that has just ended. The gc of another patchlab may be looking at it.
func lockAgain(ctx context.Context, path string) (dir *rundir.Dir, err error) {
	const patience, interval = 20 * time.Second, 50 * time.Millisecond
	ctx, cancel := context.WithTimeoutCause(ctx, patience, rundir.ErrLocked)
	defer cancel()
	err = wait.Until(ctx, "the lock of "+path, interval, func(context.Context) (bool, error) {
		dir, err = rundir.Lock(path)
		if errors.Is(err, rundir.ErrLocked) {
			return false, nil
		}
		return true, err
	})
	return dir, err
}

// plainDomain describes a domain of the shape of the run's clone.
func plainDomain(
	source image.Image, access harness.Access, host harness.Host, driver *libvirt.Driver, dir *rundir.Dir,
) (bench.Domain, error) {
	spec := bench.HandSpec(hypervisor.DomainSpec{
		Firmware: source.Firmware, Accelerator: host.Accelerator.Best, MemoryMiB: source.MemoryMiB, VCPUs: source.VCPUs,
		Disk: hypervisor.Disk{Backing: source.Disk}, MAC: source.MAC, Variables: hypervisor.Variables{From: source.Variables},
	}, dir.Path)
	if err := source.Access.HandOver(access.AuthorizedKey, filepath.Join(dir.Path, "by-hand"+rundir.SeedExt), &spec); err != nil {
		return bench.Domain{}, err
	}
	plain, err := driver.ByHand(spec)
	if err != nil {
		return bench.Domain{}, err
	}
	domain := bench.Domain{Spec: spec, URI: plain.URI, XML: plain.XML, UID: -1, GID: -1}
	if plain.Owner != nil {
		domain.UID, domain.GID = plain.Owner.UID, plain.Owner.GID
	}
	return domain, nil
}

// stepTitles are the words of the table.
var stepTitles = map[string]string{
	bench.Define: "make a clone and start it", bench.Boot: "boot", bench.Copy: "copy", bench.Install: "install",
	bench.Restart: "restart after", bench.Check: "check", bench.Reboot: "reboot", bench.Teardown: "take away",
	bench.Baseline: "baseline, control", bench.Captures: "captures of facts", bench.Suites: "suites", bench.Rest: "everything else",
}

// overheadTable renders the result for a person.
func overheadTable(o bench.Overhead) string {
	var b strings.Builder
	times := "once"
	if o.Runs > 1 {
		times = fmt.Sprintf("%d times in turn, median (least to most)", o.Runs)
	}
	_, _ = fmt.Fprintf(&b, "%s on %s, %s, seconds\n\n", o.Scenario, o.Image.Name, times)
	var table figureTable
	table.row("", "patchlab", "by hand", "difference")
	for _, row := range o.Steps {
		table.compared("", row)
	}
	table.compared("the same steps", o.Same)
	table.row("only patchlab:", "", "", "")
	for _, row := range o.Beyond {
		table.compared("", row)
	}
	table.compared("in all", o.Total)
	b.WriteString(table.String())
	b.WriteString("\n" + strings.Join(conditions(o), "\n") + "\n")
	for _, dir := range o.RunDirs {
		b.WriteString("evidence: " + dir + "\n")
	}
	return b.String()
}

// compared adds a row. Without a title of its own it is a step, indented below what it belongs to.
func (t *figureTable) compared(title string, row bench.Row) {
	if title == "" {
		title = "  " + strings.TrimSpace(stepTitles[row.Step]+" "+row.Increment)
	}
	t.row(title, shown(row.Patchlab), shown(row.ByHand), fmt.Sprintf("%+.1f", row.Difference))
}

// conditions say under which the figures were measured, a sentence each.
func conditions(o bench.Overhead) []string {
	lines := []string{
		fmt.Sprintf("%s, %s on both sides; %s; virsh %s", o.Host.Hypervisor, accelerated(o.Host.Accelerator, o.TranslationCacheMiB),
			o.SSH, o.Virsh),
		"boot and reboot by hand end with the first answer over ssh, patchlab's when the guest has settled",
		"baseline and control: " + strings.Join(o.Baseline, ", "),
	}
	return append(lines, quietness(o.BusyCPUs))
}
