package harness_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

// bootMenu plays a boot loader whose menu has to be stopped: by its screen and its keys.
type bootMenu struct {
	mu     sync.Mutex
	server *server // nil while it shows nothing
	rows   []string
	chosen int
	counts bool
	typed  string
	mode   string            // menu, edit, prompt
	subs   map[string]string // of the submenu: row -> the entry that the guest is started with
	serial bool              // it shows on the serial console alone
	empty  bool              // there is no menu
	hidden bool              // it starts the first entry at once
	deaf   bool              // it goes on counting, whatever is pressed
	slow   bool              // the menu is drawn row by row
	drawn  time.Time         // that is over
}

// withMenu gives the lab's guests a boot loader.
func withMenu(l *lab) *bootMenu {
	m := &bootMenu{subs: map[string]string{"Debian, with Linux 6.2": "advanced>new", "Debian, with Linux 6.1": oldEntry}}
	l.menu = m
	l.driver.OnScreen = m.screen
	l.driver.OnPress = m.press
	return m
}

func (m *bootMenu) show(s *server) {
	if m.hidden {
		s.reboot()
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.server, m.rows, m.chosen, m.counts, m.typed, m.mode = s, []string{"Debian", "Advanced options for Debian"}, 0, true, "", "menu"
	if m.slow {
		m.drawn = time.Now().Add(100 * time.Millisecond)
	}
	if m.empty {
		m.mode = "prompt"
	}
	m.draw()
}

func (m *bootMenu) screen(hypervisor.DomainSpec) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.serial {
		return ""
	}
	if time.Now().Before(m.drawn) {
		return "\n    GNU GRUB  version 2.06\n\n\n  *Debian\n\n    Use the   and   keys to select which entry is highlighted.\n"
	}
	return m.text()
}

// draw sends what is shown to the serial terminal. It is called with the lock held.
func (m *bootMenu) draw() {
	if m.serial && m.server != nil {
		m.server.console("\x1b[H\x1b[J" + strings.ReplaceAll(m.text(), "\n", "\r\n"))
	}
}

// text is called with the lock held.
func (m *bootMenu) text() string {
	switch {
	case m.server == nil:
		return ""
	case m.mode == "prompt":
		return "GNU GRUB\n\ngrub> " + strings.ReplaceAll(m.typed, "\n", "\n\ngrub> ")
	case m.mode == "edit":
		return "\n GNU GRUB\n\n\n  setparams 'Debian'\n\n  linux /boot/vmlinuz-6.2 ro" + m.typed + "\n\n   Minimum Emacs-like screen editing is supported.\n"
	}
	text := "\n    GNU GRUB  version 2.06\n\n\n"
	for i, row := range m.rows {
		mark := " "
		if i == m.chosen {
			mark = "*"
		}
		text += "  " + mark + row + "\n"
	}
	text += "\n    Use the   and   keys to select which entry is highlighted.\n"
	if m.counts {
		text += "   The highlighted entry will be executed automatically in 1s.\n"
	}
	return text
}

func (m *bootMenu) press(_ hypervisor.DomainSpec, keys []hypervisor.Key) {
	m.mu.Lock()
	if m.server == nil {
		m.mu.Unlock()
		return
	}
	m.counts = m.deaf
	start := ""
	switch key := keys[len(keys)-1]; {
	case m.mode == "menu" && key == hypervisor.KeyDown:
		m.chosen = min(m.chosen+1, len(m.rows)-1)
	case m.mode == "menu" && key == hypervisor.KeyUp:
		m.chosen = max(m.chosen-1, 0)
	case m.mode == "menu" && key == hypervisor.KeyE:
		m.mode = "edit"
	case m.mode == "menu" && key == hypervisor.KeyEnter && m.chosen == 1 && len(m.rows) == 2 && strings.HasPrefix(m.rows[1], "Advanced"):
		m.rows, m.chosen = []string{"Debian, with Linux 6.2", "Debian, with Linux 6.1 (recovery mode)", "Debian, with Linux 6.1"}, 0
	case m.mode == "menu" && key == hypervisor.KeyEnter:
		start = m.subs[m.rows[m.chosen]]
		if start == "" {
			start = "simple"
		}
	case m.mode == "edit" && len(keys) == 2 && keys[0] == hypervisor.KeyCtrl:
		start = "edited:" + m.typed
	case m.mode == "prompt" && key == hypervisor.KeyEnter:
		if strings.HasSuffix(m.typed, "boot") {
			start = "typed:" + m.typed
		} else {
			m.typed += "\n"
		}
	case key != hypervisor.KeyEnd:
		m.typed += letter(keys)
	}
	m.draw()
	s := m.server
	if start != "" {
		m.server = nil
	}
	m.mu.Unlock()
	if start != "" {
		s.next = start
		s.reboot()
	}
}

// letter is what keys type.
func letter(keys []hypervisor.Key) string {
	for char := ' '; char <= '~'; char++ {
		if presses, err := hypervisor.KeysFor(string(char)); err == nil && slices.Equal(presses[0], keys) {
			return string(char)
		}
	}
	return ""
}

// deadKernel is an update after which the default entry panics.
func deadKernel(l *lab, boots func(entry string) bool) scenario.Scenario {
	s := kernelUpdate(l)
	l.bootsAgain = func(s *server) bool {
		if !s.patched || boots(s.entry) {
			return true
		}
		s.console("GRUB loading\n[    0.0] Linux version 6.2\nKernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n")
		return false
	}
	return s
}

func requireRescued(t *testing.T, result report.Result, way string, steps ...string) {
	t.Helper()
	if result.Outcome != verdict.BootFailed || result.Rescue == nil || !result.Rescue.Found || result.Rescue.Way != way {
		t.Fatalf("outcome %s (%s), rescue %+v", result.Outcome, result.Reason, result.Rescue)
	}
	last := result.Rescue.Tried[len(result.Rescue.Tried)-1]
	if diff := cmp.Diff(steps, last.Steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if len(last.Lacks) > 0 {
		t.Errorf("it came up without %v", last.Lacks)
	}
}

func TestThePreviousKernelIsTheFirstWayOut(t *testing.T) {
	for _, where := range []string{"on the screen", "on a screen that is drawn slowly", "on the serial console"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				menu := withMenu(lab)
				menu.serial, menu.slow = where == "on the serial console", where == "on a screen that is drawn slowly"
				result := lab.run(deadKernel(lab, func(entry string) bool { return entry == oldEntry }))
				requireRescued(t, result, "previous kernel",
					"turn the machine off and on", "press the arrow key up when the boot menu appears, so that it waits",
					`move to "Advanced options for Debian" and press Enter`, `move to "Debian, with Linux 6.1" and press Enter`)
				if diff := cmp.Diff([]string{"start 6.1 ready", "clean  kernel", "rescue 6.1 ready"}, entries(result)); diff != "" {
					t.Errorf("boots (-want +got):\n%s", diff)
				}
				for _, file := range result.Rescue.Tried[0].Evidence {
					if content, err := os.ReadFile(filepath.Join(result.RunDir, file)); err != nil || !strings.Contains(string(content), "GNU GRUB") {
						t.Errorf("%s holds %q, %v", file, content, err)
					}
				}
			})
		})
	}
}

func TestWhereNoKernelHelpsTheSnapshotDoes(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("kept %v", keep), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				withMenu(lab)
				s := deadKernel(lab, func(string) bool { return false })
				options := lab.options()
				options.Keep = keep
				result, err := harness.Run(t.Context(), lab.lab(), s, options)
				if err != nil {
					t.Fatal(err)
				}
				first := "turn the machine off and bring its disk back to the snapshot that was taken before the patch"
				if keep {
					first = "bring the machine back to the snapshot that was taken before the patch (patchlab revert RUN before-kernel)"
				}
				requireRescued(t, result, "snapshot", first, "start it")
				var tried []string
				for _, way := range result.Rescue.Tried {
					tried = append(tried, way.Way)
				}
				if diff := cmp.Diff([]string{"previous kernel", "command line", "repair from outside", "snapshot"}, tried); diff != "" {
					t.Errorf("tried (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestABootLoaderThatDoesNotWaitIsNoWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		withMenu(lab).hidden = true
		result := lab.run(deadKernel(lab, func(string) bool { return false }))
		if first := result.Rescue.Tried[0]; first.Way != "previous kernel" || first.Why != "the boot loader does not stop at its menu" {
			t.Errorf("tried %+v", first)
		}
	})
}

func TestAMenuThatGoesOnCountingIsNoWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		withMenu(lab).deaf = true
		result := lab.run(deadKernel(lab, func(string) bool { return false }))
		if first := result.Rescue.Tried[0]; first.Way != "previous kernel" || !strings.Contains(first.Why, "goes on counting") || len(first.Evidence) != 1 {
			t.Errorf("tried %+v", first)
		}
	})
}

func TestWithoutAMenuTheEntryIsTyped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		menu := withMenu(lab)
		menu.empty = true
		typed := ""
		s := deadKernel(lab, func(entry string) bool { typed = entry; return strings.HasPrefix(entry, "typed:") })
		lab.onUp = func(s *server) {
			s.put("kernel", "running", "release", "6.1", "cmdline", "BOOT_IMAGE=/boot/vmlinuz-6.1 root=/dev/vda1 ro")
			s.put("kernel", "installed:6.1", "release", "6.1", "image", "/boot/vmlinuz-6.1", "initrd", "/boot/initrd.img-6.1")
			s.put("kernel", "default", "release", "6.1")
		}
		lab.onApply["kernel"] = func(s *server) { s.drop("default") }
		lab.onReboot = func(*server) {}
		booted := lab.bootsAgain
		lab.bootsAgain = func(s *server) bool {
			if s.patched && !strings.HasPrefix(s.entry, "typed:") {
				s.console("GRUB loading\nGNU GRUB\ngrub> ")
				return false
			}
			return booted(s)
		}
		requireRescued(t, lab.run(s), "command line", "turn the machine off and on",
			"type: linux /boot/vmlinuz-6.1 root=/dev/vda1 ro", "type: initrd /boot/initrd.img-6.1", "type: boot")
		if want := "typed:linux /boot/vmlinuz-6.1 root=/dev/vda1 ro\ninitrd /boot/initrd.img-6.1\nboot"; typed != want {
			t.Errorf("typed %q, want %q", typed, want)
		}
	})
}

func TestAUnitThatHangsIsMaskedOnTheCommandLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		withMenu(lab)
		s := kernelUpdate(lab)
		lab.onApply["kernel"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		lab.onReboot = func(*server) {}
		lab.bootsAgain = func(s *server) bool {
			if !s.patched || s.entry == "edited: systemd.mask=ledger.service" {
				s.console(loading + kernel)
				return true
			}
			s.console(loading + kernel + "Welcome to Debian\n[*  ] Job ledger.service/start running (12min 1s / no limit)\n")
			return false
		}
		requireRescued(t, lab.run(s), "command line", "turn the machine off and on",
			"press the arrow key up when the boot menu appears, so that it waits",
			"press e, go to the end of the line that begins with linux, and add: systemd.mask=ledger.service", "press Ctrl-x")
	})
}

func TestAServiceThatStartsTheMachineAnewIsMaskedOnTheCommandLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		withMenu(lab)
		s := kernelUpdate(lab)
		lab.onApply["kernel"] = func(s *server) {
			s.put("unit", "self-heal.service", "active", "inactive", "sub", "dead", "enabled", "enabled", "load", "loaded")
		}
		lab.onReboot = func(*server) {}
		lab.bootsAgain = func(s *server) bool {
			if !s.patched || s.entry == "edited: systemd.mask=self-heal.service" {
				s.console(loading + kernel)
				return true
			}
			const again = "Welcome to Debian\n         Starting self-heal.service…gain until the licence is there...\n         Starting networking.service...\n"
			s.console(loading + kernel + again + "SeaBIOS (version 1.16)\n" + loading)
			return false
		}
		requireRescued(t, lab.run(s), "command line", "turn the machine off and on",
			"press the arrow key up when the boot menu appears, so that it waits",
			"press e, go to the end of the line that begins with linux, and add: systemd.mask=self-heal.service", "press Ctrl-x")
	})
}

func TestThatNoWayLeadsOutIsToldOnlyIfAllWereTried(t *testing.T) {
	tests := []struct {
		name    string
		arrange func(*lab)
		want    bool // PL711
	}{
		{"none works", func(*lab) {}, true},
		{"the keyboard is not reached", func(l *lab) {
			l.driver.FailNext(fake.Press, errors.New("the connection was closed"))
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				withMenu(lab)
				s := deadKernel(lab, func(string) bool { return false })
				up := lab.onUp
				lab.onUp = func(s *server) {
					up(s)
					if strings.HasSuffix(s.spec.Name, "-rescue") {
						s.guest.Down() // not even what was there before
					}
				}
				tt.arrange(lab)
				result := lab.run(s)
				told := slices.ContainsFunc(result.Findings, func(f verdict.Finding) bool { return f.ID == "PL711" })
				if told != tt.want || result.Outcome != verdict.BootFailed || result.Rescue.Found {
					t.Errorf("outcome %s (%s), findings %v, rescue %+v", result.Outcome, result.Reason, ids(result), result.Rescue)
				}
			})
		})
	}
}

// rescueFaults strike while a way out is tried.
func rescueFaults() map[string]func(*lab) {
	return map[string]func(*lab){
		"QEMU is killed while a way out is tried": func(l *lab) {
			for _, s := range l.running() {
				s.kill()
			}
		},
		"libvirtd is gone while a way out is tried": func(l *lab) { l.driver.Break(errors.New("the connection to libvirt was closed")) },
		"the console is lost while a way out is tried": func(l *lab) {
			for _, s := range l.running() {
				if err := os.Truncate(s.spec.Console, 0); err != nil {
					l.t.Error(err)
				}
			}
		},
	}
}

func TestAFaultOfTheLabWhileAWayOutIsTriedChangesNoVerdict(t *testing.T) {
	for name, strike := range rescueFaults() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				withMenu(lab)
				s := deadKernel(lab, func(string) bool { return false })
				options := lab.options()
				options.Sink = sinkFunc(func(e progress.Event) {
					if e.Kind == progress.Note && strings.HasPrefix(e.Text, "previous kernel: turn the machine off") {
						strike(lab)
					}
				})
				result, err := harness.Run(context.WithoutCancel(t.Context()), lab.lab(), s, options)
				if err != nil || result.Outcome != verdict.BootFailed {
					t.Errorf("outcome %s (%s), error %v", result.Outcome, result.Reason, err)
				}
				if blamed := slices.DeleteFunc(ids(result), func(id string) bool { return strings.HasPrefix(id, "PL706") }); len(blamed) > 0 {
					t.Errorf("findings %v", blamed)
				}
				lab.driver.Break(nil)
				sweep(t, lab)
				lab.checkNothingLeft()
			})
		})
	}
}
