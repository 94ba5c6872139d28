package harness

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/grub"
	"github.com/patchlab/patchlab/harness/helper"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/rundir"
)

var (
	unitName = regexp.MustCompile(`^[A-Za-z0-9@_.:-]+\.(service|mount|target|socket|device|swap)$`)
	// failedMount is what systemd says of a mount that does not come.
	failedMount = regexp.MustCompile(`Dependency failed for \S+\.mount\b`)
)

func isUnitName(name string) bool { return unitName.MatchString(name) }

// bootPreviousKernel chooses the entry of another kernel in the boot menu.
func (r *run) bootPreviousKernel(ctx context.Context, c *clone, a *attempt) error {
	others := r.otherReleases()
	if len(others) == 0 {
		return &noWayError{"no other kernel is installed"}
	}
	m, err := r.sitDown(ctx, c, a)
	if err != nil {
		return err
	}
	shown, err := m.stopMenu(ctx)
	if err != nil {
		return err
	}
	if shown.Showing != grub.Choice {
		return &noWayError{"the boot loader shows no menu, but its prompt"}
	}
	isOther := func(row string) bool {
		return !strings.Contains(row, "recovery") && slices.ContainsFunc(others, func(release string) bool {
			return slices.Contains(strings.Fields(row), release)
		})
	}
	if !slices.ContainsFunc(shown.Rows, isOther) {
		if err := m.choose(ctx, func(row string) bool { return strings.HasPrefix(row, "Advanced options") }); err != nil {
			return err
		}
		if _, err := m.await(ctx, "the submenu", standing(func(s grub.Screen) bool {
			return s.Showing == grub.Choice && !slices.Equal(s.Rows, shown.Rows) && s.Chosen >= 0
		})); err != nil {
			return err
		}
	}
	if err := m.choose(ctx, isOther); err != nil {
		return err
	}
	c.mark = boot.Mark(c.console)
	return r.comesUp(ctx, c, a)
}

// bootCommandLine adds what helps to the kernel's command line, or types the commands of an entry where there is no menu.
func (r *run) bootCommandLine(ctx context.Context, c *clone, a *attempt) error {
	added := r.argumentsFor(a.died)
	if added == "" && a.died.Stage != boot.Bootloader {
		return &noWayError{"nothing that could be added to the kernel's command line helps against this end of a boot"}
	}
	m, err := r.sitDown(ctx, c, a)
	if err != nil {
		return err
	}
	shown, err := m.stopMenu(ctx)
	if err != nil {
		return err
	}
	switch {
	case shown.Showing == grub.Prompt:
		err = r.typeEntry(ctx, m)
	case added == "":
		err = &noWayError{"nothing that could be added to the kernel's command line helps against this end of a boot"}
	default:
		err = m.editLine(ctx, added)
	}
	if err != nil {
		return err
	}
	c.mark = boot.Mark(c.console)
	return r.comesUp(ctx, c, a)
}

// typeEntry types at the boot loader's prompt what its menu did when the guest still booted.
func (r *run) typeEntry(ctx context.Context, m *atConsole) error {
	running, _ := r.known.Baseline.Get(fact.KindKernel, "running")
	release := running.Attribute("release")
	kernel, there := r.facts.Get(fact.KindKernel, "installed:"+release)
	if !there {
		return &noWayError{"the kernel from before the patch is not there any more"}
	}
	place := func(file string) string {
		if _, own := r.known.Baseline.Get(fact.KindMount, "/boot"); own {
			return path.Join("/", strings.TrimPrefix(file, "/boot"))
		}
		return file
	}
	var arguments []string
	for word := range strings.FieldsSeq(running.Attribute("cmdline")) {
		if !strings.HasPrefix(word, "BOOT_IMAGE=") {
			arguments = append(arguments, word)
		}
	}
	lines := []string{"linux " + place(kernel.Attribute("image")) + " " + strings.Join(arguments, " ")}
	if initrd := kernel.Attribute("initrd"); initrd != "" {
		lines = append(lines, "initrd "+place(initrd))
	}
	for _, line := range lines {
		if err := m.command(ctx, line); err != nil {
			return err
		}
	}
	return m.lastCommand(ctx, "boot")
}

// bootRepaired has a helper domain mend the guest's disk, and boots from it.
func (r *run) bootRepaired(ctx context.Context, c *clone, a *attempt) error {
	if r.lab.Kit == nil {
		return &noWayError{"there is no helper that could open the disk"}
	}
	err := r.withHelper(ctx, c, a.phase, true, func(ctx context.Context, h *helper.Helper) error {
		mends, err := r.mendsFor(ctx, h, a.died)
		if err != nil {
			return err
		}
		if len(mends) == 0 {
			return &noWayError{"the disk shows nothing that is known to keep a system from booting"}
		}
		a.did("start a rescue system, mount the server's disk and change into it (chroot)")
		for _, m := range mends {
			if err := r.mend(ctx, h, a, m); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, helper.ErrNoRoot) {
		return &noWayError{err.Error()}
	}
	if err != nil {
		return err
	}
	a.did("start the server from its disk")
	if err := c.powerCycle(ctx); err != nil {
		return err
	}
	return r.comesUp(ctx, c, a)
}

// mendsFor adds to what the disk shows what the console did.
func (r *run) mendsFor(ctx context.Context, h *helper.Helper, died boot.Seen) ([]helper.Mend, error) {
	mends, err := helper.Mends(ctx, func(ctx context.Context, line string) (string, error) {
		result, err := r.askDead(ctx, h, line)
		return string(result.Stdout), err
	})
	if unit := died.Job.Unit; isUnitName(unit) {
		mends = append(mends, helper.Mend{Why: "the start job of " + unit + " does not end", Line: "systemctl mask " + unit})
	}
	return mends, err
}

func (r *run) mend(ctx context.Context, h *helper.Helper, a *attempt, m helper.Mend) error {
	a.did("%s: run %s", m.Why, m.Line)
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Apply)
	defer cancel()
	result, err := h.Run(ctx, m.Line, r.bounds.Apply)
	if err != nil {
		return err
	}
	output := slices.Concat(result.Stdout, result.Stderr)
	if err := r.keepSeen(a, output); err != nil {
		return err
	}
	if result.ExitCode != 0 {
		return &noWayError{fmt.Sprintf("%s exits with %d: %s", m.Line, result.ExitCode, strings.Join(tail(output, 2), " "))}
	}
	return nil
}

// bootSnapshot goes back to the disk from before the patch: the checkpoint of a guest that is kept, else another overlay.
func (r *run) bootSnapshot(ctx context.Context, c *clone, a *attempt) error {
	first := BeforeIncrement(r.scenario.Increments[0].Name)
	if checkpointer, ok := c.domain.(hypervisor.Checkpointer); ok && r.options.Keep {
		if all, err := checkpointer.Checkpoints(ctx); err == nil && slices.ContainsFunc(all, func(k hypervisor.Checkpoint) bool { return k.Name == first }) {
			a.did("bring the machine back to the snapshot that was taken before the patch (patchlab revert RUN %s)", first)
			if _, err := c.revert(ctx, first, r.lab.Now, nil); err != nil {
				return err
			}
			return r.restartRescued(ctx, c, a)
		}
	}
	a.did("turn the machine off and bring its disk back to the snapshot that was taken before the patch")
	order := cloneOrder{purpose: PhaseRescue, overlay: r.dir.File(PhaseRescue + rundir.DiskExt), console: r.dir.File(PhaseRescue + "-" + rundir.Console)}
	if err := c.lieDown(ctx); err != nil {
		return err
	}
	return r.withClone(ctx, order, func(ctx context.Context, fresh *clone) error {
		fresh.fresh = false // what is known of an image's files is not learned here
		if !fresh.warm {
			if err := fresh.connect(ctx, r.bounds.Boot, ""); err != nil {
				return err
			}
			if _, err := fresh.settle(ctx); err != nil {
				return err
			}
		}
		return r.restartRescued(ctx, fresh, a)
	})
}

// restartRescued boots a guest that is up: a snapshot has to start, not only to be there.
func (r *run) restartRescued(ctx context.Context, c *clone, a *attempt) error {
	a.did("start it")
	if err := c.powerCycle(ctx); err != nil {
		return err
	}
	return r.comesUp(ctx, c, a)
}
