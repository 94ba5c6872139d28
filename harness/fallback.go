package harness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/grub"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// PhaseFallback is the phase in which the kernel beside the patched one is booted by its menu entry.
const PhaseFallback = "fallback"

// The modes of its boots, beside those of reboots.
const (
	bootFallback = "fallback"
	bootDefault  = "default" // back from there
)

// rescues tells whether the ways out of a boot that fails are wanted.
func (r *run) rescues() bool { return r.scenario.Rescue != scenario.RescueNever }

// noteBootChange remembers the increment if it has touched kernels or what the boot loader reads.
func (r *run) noteBootChange(increment string, previous fact.Set) {
	if slices.ContainsFunc(drift.Compare(previous, r.facts), func(d drift.Drift) bool { return isBootChange(d.Key) }) {
		r.bootMoved = append(r.bootMoved, increment)
	}
}

func isBootChange(key fact.Key) bool {
	switch key.Kind {
	case fact.KindKernel:
		return key.Name != "running"
	case fact.KindFile:
		return strings.HasPrefix(key.Name, "/boot/") && !isGrubEnvironment(key)
	default:
		return false
	}
}

// isGrubEnvironment tells whether a fact is the block in which GRUB is told what to start next, and forgets it then.
func isGrubEnvironment(key fact.Key) bool {
	return key.Kind == fact.KindFile && (key.Name == "/boot/grub/grubenv" || key.Name == "/boot/grub2/grubenv")
}

// proveFallback boots the kernel that is left beside the patched one by its menu entry, compares what came up with the baseline, and
// boots the default again. The patched guest has come up before. What the lab spoils says nothing of the patch, and is told only.
func (r *run) proveFallback(ctx context.Context, c *clone) {
	if !r.rescues() || len(r.bootMoved) == 0 || len(r.scenario.Reboot) == 0 {
		return
	}
	r.result.Fallback = &report.Fallback{}
	err := r.phase(PhaseFallback, "", func(p *phase) error { return r.bootFallback(ctx, c, p, r.result.Fallback) })
	if err != nil {
		r.result.Fallback.Why = "the lab failed: " + err.Error()
	}
}

func (r *run) bootFallback(ctx context.Context, c *clone, p *phase, told *report.Fallback) error {
	menu, err := r.bootMenu(ctx, c.conn)
	if err != nil {
		return err
	}
	place, release, found := r.otherKernel(menu)
	if !found {
		told.Why = "the boot menu has no entry for another kernel"
		return nil
	}
	told.Kernel, told.Entry = release, place.Title()
	p.note("booting %s by its menu entry: %s", release, told.Entry)
	var stuck []string
	took, err := p.step("boot", func() (err error) {
		if err := c.runs(ctx, guest.Command{Line: chooseNext(place)}); err != nil {
			return fmt.Errorf("telling the boot loader what to start next: %w", err)
		}
		stuck, err = r.restartFollowed(ctx, c)
		return err
	})
	if err != nil {
		return r.fallbackDied(ctx, c, took, err, told)
	}
	facts, err := r.capture(ctx, c, p, PhaseFallback)
	if err != nil {
		return err
	}
	running := runningKernel(facts)
	r.addBoot(report.Boot{Mode: bootFallback, Entry: running, Stage: string(boot.Ready), Seconds: took}, c)
	if running != release {
		told.Why = fmt.Sprintf("the boot loader was told to start %s next, and started %s", release, running)
	} else {
		r.judgeFallback(facts, stuck, told)
	}
	return r.bootDefault(ctx, c, p, told)
}

// bootMenu reads what the guest's boot loader would offer.
func (r *run) bootMenu(ctx context.Context, conn guest.Conn) (*grub.Menu, error) {
	menu, err := r.ask(ctx, conn, "cat /boot/grub/grub.cfg 2>/dev/null || cat /boot/grub2/grub.cfg")
	if err != nil {
		return nil, fmt.Errorf("reading the boot menu: %w", err)
	}
	return grub.Parse(menu), nil
}

// ask returns what a command that succeeds says.
func (r *run) ask(ctx context.Context, conn guest.Conn, line string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Command)
	defer cancel()
	command := guest.Command{Line: line}
	result, err := conn.Run(ctx, command)
	if err == nil {
		err = result.Err(command)
	}
	return result.Stdout, err
}

// otherKernel finds the entry of a kernel that does not run now: that of the one from before the patch, else the first one.
func (r *run) otherKernel(menu *grub.Menu) (place grub.Place, release string, found bool) {
	running := runningKernel(r.facts)
	if before := runningKernel(r.known.Baseline); before != running {
		if place, found := menu.Kernel(before); found {
			return place, before, true
		}
	}
	for _, place := range menu.Places() {
		release := place.Entry().Release()
		if release == "" || release == running {
			continue
		}
		if everyday, found := menu.Kernel(release); found {
			return everyday, release, true
		}
	}
	return nil, "", false
}

func runningKernel(facts fact.Set) string {
	running, _ := facts.Get(fact.KindKernel, "running")
	return running.Attribute("release")
}

// chooseNext has the boot loader take a place of its menu, once.
func chooseNext(place grub.Place) string {
	reference := "'" + strings.ReplaceAll(place.Reference(), "'", `'\''`) + "'"
	return "if command -v grub-reboot >/dev/null; then grub-reboot " + reference + "; else grub2-reboot " + reference + "; fi"
}

// restartFollowed reboots the guest until it has settled, or its console shows that it does not come. stuck are the units whose jobs
// do not end.
func (r *run) restartFollowed(ctx context.Context, c *clone) (stuck []string, err error) {
	c.mark = boot.Mark(c.console)
	followed, f := c.follow(ctx, boot.Watch{Control: r.controlOf(scenario.RebootClean).Stages})
	defer f.stop()
	if err := c.restart(followed, r.bounds.Shutdown+r.controlOf(scenario.RebootClean).bootBound()); err != nil {
		return nil, whyOver(followed, err)
	}
	f.answered()
	settled, err := c.settle(followed)
	if err != nil {
		return nil, whyOver(followed, err)
	}
	for _, job := range settled.Jobs {
		stuck = append(stuck, job.Unit)
	}
	return stuck, f.look() // it may have begun once more since it was last looked at
}

// addBoot records a boot beside those that are judged.
func (r *run) addBoot(b report.Boot, c *clone) {
	r.bootIDs = append(r.bootIDs, c.bootID)
	r.result.Boots = append(r.result.Boots, b)
}

// judgeFallback compares what the other kernel brought up with the baseline.
func (r *run) judgeFallback(facts fact.Set, stuck []string, told *report.Fallback) {
	worse := r.judge.Beyond(judge.Boundary{Phase: PhaseFallback, Rebooted: true, Facts: facts, Fallback: told.Kernel})
	worse = slices.DeleteFunc(worse, func(f verdict.Finding) bool { return isGrubEnvironment(f.Subject) })
	var lacks []string
	for _, unit := range stuck {
		lacks = append(lacks, "the start job of "+unit+" does not end")
	}
	for _, f := range worse {
		lacks = append(lacks, f.Title)
	}
	told.Proven = len(lacks) == 0
	if told.Proven {
		return
	}
	told.Why = "it is not as before the patch: " + strings.Join(lacks, "; ")
	r.blameFallback(told, fmt.Sprintf("kernel %s boots by its menu entry, but not as before the patch: %s", told.Kernel, lacks[0]),
		verdict.Evidence{File: filepath.Join(rundir.Facts, PhaseFallback+".json"), Lines: lacks[:min(len(lacks), mostTelling)]})
}

// fallbackDied tells of a fallback that did not come up, if that is the guest's doing. It is the patch's: the same kernel was seen to
// boot without it. Of a kernel that nobody had seen boot before, it is a warning.
func (r *run) fallbackDied(ctx context.Context, c *clone, took float64, cause error, told *report.Fallback) error {
	seen, evidence, err := r.seenDead(ctx, c, cause)
	if err != nil {
		return err
	}
	r.addBoot(report.Boot{Mode: bootFallback, Entry: told.Kernel, Stage: string(seen.Stage), Seconds: took, Cause: seen.Cause}, c)
	told.Why = fmt.Sprintf("it does not come up: its boot is over in stage %s: %s", seen.Stage, seen.Cause)
	r.blameFallback(told, fmt.Sprintf("kernel %s does not come up any more by its menu entry: its boot is over in stage %s",
		told.Kernel, seen.Stage), evidence...)
	if !r.options.Keep {
		return nil
	}
	return errors.Join(c.powerCycle(ctx), c.connect(ctx, r.bounds.Boot, ""))
}

func (r *run) blameFallback(told *report.Fallback, title string, evidence ...verdict.Evidence) {
	f := verdict.Finding{
		ID: "PL713", Severity: verdict.Error, Phase: PhaseFallback, Subject: fact.Key{Kind: fact.KindKernel, Name: "fallback"},
		Title: title, Cause: told.Why, Evidence: evidence,
	}
	if told.Kernel != runningKernel(r.known.Baseline) {
		f.Severity = verdict.Warning // nobody saw it boot without the patch
	}
	if len(r.bootMoved) == 1 {
		f.Increment = r.bootMoved[0]
	}
	r.judge.Add(withRemedy(f))
}

// bootDefault leaves the guest as a person wants it: with the kernel that its boot loader starts by itself.
func (r *run) bootDefault(ctx context.Context, c *clone, p *phase, told *report.Fallback) error {
	took, err := p.step("back", func() error {
		_, err := r.restartFollowed(ctx, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("booting the default again: %w", err)
	}
	running, err := r.askKernel(ctx, c.conn)
	if err != nil {
		return err
	}
	r.addBoot(report.Boot{Mode: bootDefault, Entry: running, Stage: string(boot.Ready), Seconds: took}, c)
	if wanted := runningKernel(r.facts); running != wanted {
		p.note("after the fallback the boot loader starts %s, not %s: it does not forget what it was told to start once", running, wanted)
		told.Why = "the boot loader goes on to start it"
	}
	return nil
}

func (r *run) askKernel(ctx context.Context, conn guest.Conn) (string, error) {
	release, err := r.ask(ctx, conn, "uname -r")
	if err != nil {
		return "", fmt.Errorf("asking which kernel runs: %w", err)
	}
	return strings.TrimSpace(string(release)), nil
}
