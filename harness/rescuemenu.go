package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/boot"
	"github.com/patchlab/patchlab/harness/grub"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/wait"
)

// atConsole is somebody who sits in front of the machine: reads what is shown, and presses keys.
type atConsole struct {
	clone    *clone
	attempt  *attempt
	keyboard hypervisor.Keyboard
	keep     func(screen []byte) error
	patience time.Duration // with an answer to a key
}

// sitDown turns the machine off and on. Whoever wants its menu has to be quick then.
func (r *run) sitDown(ctx context.Context, c *clone, a *attempt) (*atConsole, error) {
	keyboard, ok := c.domain.(hypervisor.Keyboard)
	if !ok {
		return nil, &noWayError{"the machine has no keyboard"}
	}
	if err := c.powerCycle(ctx); err != nil {
		return nil, err
	}
	a.did("turn the machine off and on")
	return &atConsole{clone: c, attempt: a, keyboard: keyboard, keep: func(screen []byte) error { return r.keepSeen(a, screen) }, patience: max(r.bounds.Answer, leastKeyPatience)}, nil
}

// leastKeyPatience is for a host that has much to do.
const leastKeyPatience = 20 * time.Second

// lookEveryGlance is how often somebody looks at the screen who waits for it to change.
const lookEveryGlance = 200 * time.Millisecond

// screen reads what is shown: on the screen, else on the serial terminal.
func (m *atConsole) screen(ctx context.Context) (grub.Screen, []byte, error) {
	if reader, ok := m.clone.domain.(hypervisor.ScreenReader); ok {
		text, err := reader.ScreenText(ctx)
		if err != nil {
			return grub.Screen{}, nil, err
		}
		if shown := grub.ReadScreen(text); shown.Showing != grub.Nothing {
			return shown, text, nil
		}
	}
	content, err := os.ReadFile(m.clone.console)
	if err != nil || int64(len(content)) < m.clone.mark {
		return grub.Screen{}, nil, fmt.Errorf("reading the console: %w", err)
	}
	text := grub.Render(content[m.clone.mark:])
	return grub.ReadScreen(text), text, nil
}

// await looks at the screen until it is as wanted.
func (m *atConsole) await(ctx context.Context, what string, wanted func(grub.Screen) bool) (seen grub.Screen, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.patience, &noWayError{"the screen does not show " + what})
	defer cancel()
	var text []byte
	err = wait.Until(ctx, what, lookEveryGlance, func(ctx context.Context) (bool, error) {
		var err error
		seen, text, err = m.screen(ctx)
		return err == nil && wanted(seen), err
	})
	if err != nil {
		err = errors.Join(err, m.keep(text)) // it shows why
	}
	return seen, err
}

// standing wants a screen that shows the same at two looks: it may be drawn slowly.
func standing(wanted func(grub.Screen) bool) func(grub.Screen) bool {
	var before grub.Screen
	return func(now grub.Screen) bool {
		same := now.Showing == before.Showing && now.Chosen == before.Chosen && slices.Equal(now.Rows, before.Rows)
		before = now
		return same && wanted(now)
	}
}

// stopMenu presses a key again and again that changes nothing, until the boot loader has stopped to count, or asks for commands.
func (m *atConsole) stopMenu(ctx context.Context) (shown grub.Screen, err error) {
	var text []byte
	pressUntil := func(ctx context.Context, wanted func(grub.Screen) bool) error {
		return wait.Until(ctx, "the boot menu", lookEveryGlance, func(ctx context.Context) (bool, error) {
			var err error
			if shown, text, err = m.screen(ctx); err != nil {
				return false, err
			}
			switch {
			case shown.Showing == grub.RescuePrompt:
				return false, &noWayError{"the boot loader finds nothing of its own any more, and asks for a rescue medium (grub rescue>)"}
			case wanted(shown):
				return true, nil
			case boot.Read(m.clone.console, m.clone.mark).IsPast(boot.Bootloader):
				return false, &noWayError{"the boot loader does not stop at its menu"}
			}
			return false, m.keyboard.Press(ctx, hypervisor.KeyUp)
		})
	}
	if err := pressUntil(ctx, func(s grub.Screen) bool { return s.Showing != grub.Nothing }); err != nil {
		return shown, err
	}
	patient, cancel := context.WithTimeoutCause(ctx, m.patience, &noWayError{"the boot menu goes on counting"})
	defer cancel()
	err = pressUntil(patient, standing(func(s grub.Screen) bool { return s.Showing != grub.Nothing && !s.Counting }))
	err = errors.Join(err, m.keep(text))
	if err == nil && shown.Showing == grub.Choice {
		m.attempt.did("press the arrow key up when the boot menu appears, so that it waits")
	}
	return shown, err
}

// choose moves to the first row that is wanted, and starts or opens it.
func (m *atConsole) choose(ctx context.Context, wanted func(row string) bool) error {
	shown, text, err := m.screen(ctx)
	if err != nil {
		return err
	}
	target := slices.IndexFunc(shown.Rows, wanted)
	if target < 0 {
		return &noWayError{fmt.Sprintf("the menu has no such entry among %q", shown.Rows)}
	}
	if err := m.keep(text); err != nil {
		return err
	}
	title, presses := shown.Rows[target], 0
	for shown.Chosen != target {
		key, was := hypervisor.KeyDown, shown.Chosen
		if was > target {
			key = hypervisor.KeyUp
		}
		if presses++; presses > 4*len(shown.Rows) {
			return &noWayError{"the highlight does not come to " + title}
		}
		if err := m.keyboard.Press(ctx, key); err != nil {
			return err
		}
		if shown, err = m.await(ctx, "that the highlight has moved", func(s grub.Screen) bool { return s.Chosen >= 0 && s.Chosen != was }); err != nil {
			return err
		}
	}
	m.attempt.did("move to \"%s\" and press Enter", strings.TrimSpace(title))
	return m.keyboard.Press(ctx, hypervisor.KeyEnter)
}

// editLine adds arguments to the kernel's command line of the highlighted entry, and starts it.
func (m *atConsole) editLine(ctx context.Context, added string) error {
	if err := m.keyboard.Press(ctx, hypervisor.KeyE); err != nil {
		return err
	}
	isKernels := func(row string) bool { return strings.HasPrefix(strings.TrimSpace(row), "linux") }
	shown, err := m.await(ctx, "the entry's commands", func(s grub.Screen) bool {
		return s.Showing == grub.Editor && slices.ContainsFunc(s.Rows, isKernels)
	})
	if err != nil {
		return err
	}
	for range slices.IndexFunc(shown.Rows, isKernels) {
		if err := m.keyboard.Press(ctx, hypervisor.KeyDown); err != nil {
			return err
		}
	}
	if err := m.keyboard.Press(ctx, hypervisor.KeyEnd); err != nil {
		return err
	}
	if err := m.enter(ctx, " "+added); err != nil {
		return err
	}
	m.attempt.did("press e, go to the end of the line that begins with linux, and add: %s", added)
	m.attempt.did("press Ctrl-x")
	return m.keyboard.Press(ctx, hypervisor.KeyCtrl, hypervisor.KeyX)
}

// command types a line at the boot loader's prompt, and waits until it asks for the next one.
func (m *atConsole) command(ctx context.Context, line string) error {
	before := 0
	if shown, _, err := m.screen(ctx); err == nil {
		before = strings.Count(strings.Join(shown.Rows, "\n"), "error:")
	}
	if err := m.lastCommand(ctx, line); err != nil {
		return err
	}
	shown, err := m.await(ctx, "the prompt again", func(s grub.Screen) bool { return s.Asks() })
	if err == nil && strings.Count(strings.Join(shown.Rows, "\n"), "error:") > before {
		return &noWayError{"the boot loader refuses: " + line}
	}
	return err
}

// lastCommand types a line that the boot loader does not come back from.
func (m *atConsole) lastCommand(ctx context.Context, line string) error {
	if err := m.enter(ctx, line); err != nil {
		return err
	}
	m.attempt.did("type: %s", line)
	return m.keyboard.Press(ctx, hypervisor.KeyEnter)
}

// atOnce is how many characters are typed before somebody looks whether they are there.
const atOnce = 8

// enter types a text that shows on the screen, though perhaps over several lines.
func (m *atConsole) enter(ctx context.Context, text string) error {
	presses, err := hypervisor.KeysFor(text)
	if err != nil {
		return &noWayError{err.Error()}
	}
	for typed := 0; typed < len(text); {
		end := min(len(text), typed+atOnce)
		for _, press := range presses[typed:end] {
			if err := m.keyboard.Press(ctx, press...); err != nil {
				return err
			}
		}
		typed = end
		visible := withoutBreaks(text[max(0, typed-2*atOnce):typed])
		if _, err := m.await(ctx, fmt.Sprintf("what was typed: %s", text[:typed]), func(s grub.Screen) bool {
			return strings.Contains(withoutBreaks(strings.Join(s.Rows, "")), visible)
		}); err != nil {
			return err
		}
	}
	return nil
}

// withoutBreaks leaves out where a text may be broken into lines, and how.
func withoutBreaks(text string) string {
	return strings.NewReplacer(" ", "", "\n", "", `\`, "", "|", "").Replace(text)
}
