package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/grub"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/judge"
	"github.com/patchlab/patchlab/harness/report"
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

// fallback is the boot of a kernel beside the one that the boot loader starts by itself.
type fallback struct {
	told     *report.Fallback
	facts    string // names the file of those that were taken in it
	place    grub.Place
	died     *boot.Seen         // how its boot ended, if it did not come up
	evidence []verdict.Evidence // of that
	worse    []verdict.Finding  // what it brought up otherwise than before the patch
}

// proveFallback boots the kernel that is left beside the patched one by its menu entry, compares what came up with the baseline, and
// boots the default again. The patched guest has come up before. What the lab spoils says nothing of the patch, and is told only.
func (r *run) proveFallback(ctx context.Context, c *clone) {
	r.tellFallbacks()
	if !r.rescues() || len(r.bootMoved) == 0 || len(r.scenario.Reboot) == 0 {
		return
	}
	f := &fallback{told: &report.Fallback{}, facts: PhaseFallback}
	r.result.Fallback = f.told
	err := r.phase(PhaseFallback, "", func(p *phase) error {
		if found, err := r.findFallback(ctx, c, f, runningKernel(r.facts)); !found || err != nil {
			return err
		}
		if err := r.bootFallback(ctx, c, p, f); err != nil {
			return err
		}
		r.tellFallback(f)
		switch {
		case f.died == nil:
			return r.bootDefault(ctx, c, p, f.told)
		case r.options.Keep:
			return errors.Join(c.powerCycle(ctx), c.connect(ctx, r.bounds.Boot, ""))
		default:
			return nil
		}
	})
	f.spoilt(ctx, err)
}

// proveFallbackAfter boots the other kernel before the next increment comes, and brings the guest back to where it was. What it finds
// is told when the run's own reboots have shown what is wrong with every kernel. Its error is that of a guest that cannot be brought
// back: without a way back nothing is tried.
func (r *run) proveFallbackAfter(ctx context.Context, c *clone, increment string) error {
	if !r.rescues() || len(r.scenario.Reboot) == 0 || c.outOfBand || !slices.Contains(r.bootMoved, increment) {
		return nil
	}
	if err := r.mayComeBack(ctx); err != nil {
		r.skip(PhaseFallback, increment, err.Error())
		return context.Cause(ctx)
	}
	f := &fallback{told: &report.Fallback{Increment: increment}, facts: PhaseFallback + "-" + increment}
	r.fallbacks, r.result.Fallbacks = append(r.fallbacks, f), append(r.result.Fallbacks, f.told)
	var lost error
	err := r.phase(PhaseFallback, increment, func(p *phase) error {
		if found, err := r.findFallback(ctx, c, f, r.defaultKernel()); !found || err != nil {
			return err
		}
		files, here := c.files, "after-"+increment
		if err := c.checkpoint(ctx, here); err != nil {
			return fmt.Errorf("keeping the guest as it is: %w", err)
		}
		failed := r.bootFallback(ctx, c, p, f)
		_, lost = p.step("back", func() error {
			_, err := c.revert(ctx, here, r.lab.Now, nil)
			return err
		})
		c.files = files
		return errors.Join(failed, lost)
	})
	f.spoilt(ctx, err)
	if lost != nil {
		return fmt.Errorf("bringing the guest back from its fallback: %w", lost)
	}
	return nil
}

// spoilt tells that the lab failed, or somebody stopped the run, before anything was proven.
func (f *fallback) spoilt(ctx context.Context, err error) {
	stopped := context.Cause(ctx)
	if errors.Is(stopped, errDomainGone) || errors.Is(stopped, errDomainPaused) {
		stopped = nil // by the watch over the domain, which is the lab's
	}
	switch {
	case err == nil || f.told.Proven:
	case stopped != nil:
		f.told.Why = "stopped: " + stopped.Error()
	default:
		f.told.Why = "the lab failed: " + err.Error()
	}
}

// mayComeBack tells why the guest cannot be brought back from a boot that the run does not go on with.
func (r *run) mayComeBack(ctx context.Context) error {
	if len(r.held) > 0 {
		return errors.New("the connections that are held open would not outlive it")
	}
	return r.mayCheckpoint(ctx)
}

// findFallback finds the kernel that is left beside another one, and its entry. That there is none is told.
func (r *run) findFallback(ctx context.Context, c *clone, f *fallback, instead string) (found bool, err error) {
	menu, err := r.bootMenu(ctx, c.conn)
	if err != nil {
		return false, err
	}
	place, release, found := r.otherKernel(menu, instead)
	if !found {
		f.told.Why = "the boot menu has no entry for another kernel"
		return false, nil
	}
	f.place, f.told.Kernel, f.told.Entry = place, release, place.Title()
	return true, nil
}

// bootFallback boots the kernel that was found and reads what it brings up. That it does not come up is no error.
func (r *run) bootFallback(ctx context.Context, c *clone, p *phase, f *fallback) error {
	p.note("booting %s by its menu entry: %s", f.told.Kernel, f.told.Entry)
	tried := report.Boot{Mode: bootFallback, Entry: f.told.Kernel, Stage: string(boot.Ready)}
	var hanging []verdict.Finding
	took, err := p.step("boot", func() (err error) {
		if err := c.runs(ctx, guest.Command{Line: chooseNext(f.place)}); err != nil {
			return fmt.Errorf("telling the boot loader what to start next: %w", err)
		}
		hanging, err = r.restartFollowed(ctx, c)
		return err
	})
	tried.Seconds = took
	if err != nil {
		seen, evidence, err := r.seenDead(ctx, c, err)
		if err != nil {
			return err
		}
		tried.Stage, tried.Cause = string(seen.Stage), seen.Cause
		f.died, f.evidence = &seen, evidence
		r.addBoot(tried, "")
		return nil
	}
	facts, err := r.capture(ctx, c, p, f.facts)
	if err != nil {
		return err
	}
	tried.Entry = runningKernel(facts)
	if f.told.Increment == "" {
		r.addBoot(tried, c.bootID)
	} else {
		r.addBoot(tried, "") // the guest is not going to know of it
	}
	if tried.Entry != f.told.Kernel {
		f.told.Why = fmt.Sprintf("the boot loader was told to start %s next, and started %s", f.told.Kernel, tried.Entry)
		return nil
	}
	worse := r.judge.Beyond(judge.Boundary{Phase: PhaseFallback, Rebooted: true, Facts: facts, Fallback: tried.Entry})
	f.worse = slices.DeleteFunc(append(hanging, worse...), func(w verdict.Finding) bool { return isGrubEnvironment(w.Subject) })
	f.told.Proven = len(f.worse) == 0
	return nil
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

// otherKernel finds the entry of another kernel than one: that of the one from before the patch, else the first one.
func (r *run) otherKernel(menu *grub.Menu, than string) (place grub.Place, release string, found bool) {
	if before := runningKernel(r.known.Baseline); before != than {
		if place, found := menu.Kernel(before); found {
			return place, before, true
		}
	}
	for _, place := range menu.Places() {
		release := place.Entry().Release()
		if release == "" || release == than {
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

// restartFollowed reboots the guest until it has settled, or its console shows that it does not come. It tells of jobs that do not end.
func (r *run) restartFollowed(ctx context.Context, c *clone) (hanging []verdict.Finding, err error) {
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
		hanging = append(hanging, jobHangs(job))
	}
	return hanging, f.look() // it may have begun once more since it was last looked at
}

// tellFallbacks tells of those that were tried between increments. By the end of the run it is known what is wrong with every kernel:
// that is not told once more. To call it again adds nothing.
func (r *run) tellFallbacks() {
	for _, f := range r.fallbacks {
		r.tellFallback(f)
	}
}

// tellFallback says whether the other kernel is one to fall back to. If it does not come up, or not with all that was there, that is
// the patch's doing: the same kernel was seen to boot without it. Of a kernel that nobody had seen boot before, it is a warning.
func (r *run) tellFallback(f *fallback) {
	told := f.told
	switch {
	case f.died != nil:
		told.Why = fmt.Sprintf("it does not come up: its boot is over in stage %s: %s", f.died.Stage, f.died.Cause)
		if r.died != nil && r.died.Stage == f.died.Stage && r.died.Cause == f.died.Cause {
			return // nor does the default
		}
		r.blameFallback(f, fmt.Sprintf("kernel %s does not come up any more by its menu entry: its boot is over in stage %s",
			told.Kernel, f.died.Stage), f.evidence...)
	case len(f.worse) > 0:
		var lacks []string
		for _, w := range f.worse {
			if !r.judge.Tells(w.ID, w.Subject) {
				lacks = append(lacks, w.Title)
			}
		}
		if told.Proven = len(lacks) == 0; told.Proven {
			return
		}
		told.Why = "it is not as before the patch: " + strings.Join(lacks, "; ")
		r.blameFallback(f, fmt.Sprintf("kernel %s boots by its menu entry, but not as before the patch: %s", told.Kernel, lacks[0]),
			verdict.Evidence{File: factsFile(f.facts), Lines: lacks[:min(len(lacks), mostTelling)]})
	}
}

// blameFallback makes a finding of it, once: what one increment did the next ones do not mend.
func (r *run) blameFallback(tried *fallback, title string, evidence ...verdict.Evidence) {
	f := verdict.Finding{
		ID: "PL713", Severity: verdict.Error, Phase: PhaseFallback, Subject: fact.Key{Kind: fact.KindKernel, Name: "fallback"},
		Title: title, Cause: tried.told.Why, Evidence: evidence, Increment: r.suspect(tried),
	}
	if r.judge.Tells(f.ID, f.Subject) {
		return
	}
	if tried.told.Kernel != runningKernel(r.known.Baseline) {
		f.Severity = verdict.Warning // nobody saw it boot without the patch
	}
	r.judge.Add(withRemedy(f))
}

// suspect is the increment that spoiled a fallback: the only one since another was proven, or the only one of them that has touched
// the boot; "" if that does not tell.
func (r *run) suspect(tried *fallback) string {
	var since, moved []string
	for _, increment := range r.scenario.Increments {
		since = append(since, increment.Name)
		if slices.Contains(r.bootMoved, increment.Name) {
			moved = append(moved, increment.Name)
		}
		i := slices.IndexFunc(r.fallbacks, func(f *fallback) bool { return f.told.Increment == increment.Name })
		switch {
		case i < 0:
		case r.fallbacks[i] == tried:
			return only(since, moved)
		case r.fallbacks[i].told.Proven:
			since, moved = nil, nil
		}
	}
	return only(since, moved)
}

// only returns what is alone in the first list that has no more than that.
func only(lists ...[]string) string {
	for _, list := range lists {
		if len(list) == 1 {
			return list[0]
		}
	}
	return ""
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
	r.addBoot(report.Boot{Mode: bootDefault, Entry: running, Stage: string(boot.Ready), Seconds: took}, c.bootID)
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
