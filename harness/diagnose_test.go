package harness_test

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

// What a guest says that reboots.
const (
	leaving = "[   99.0] reboot: Restarting system\n"
	loading = "GNU GRUB  version 2.06\nLoading Linux 6.1 ...\nLoading initial ramdisk ...\n"
	kernel  = "[    0.0] Linux version 6.1\n"
)

// afterPatch lets a guest that was patched say something when it reboots, and never come back.
func afterPatch(l *lab, text string) {
	l.bootsAgain = func(s *server) bool {
		if s.patched {
			s.console(text)
		} else {
			s.console(leaving + loading + kernel)
			<-time.After(5 * time.Second) // of the fake clock: a boot takes its time
			s.console("web login: ")
		}
		return !s.patched
	}
}

// failedBoot is the last boot of a run.
func failedBoot(result report.Result) report.Boot { return result.Boots[len(result.Boots)-1] }

func TestAFailedBootIsDiagnosedAsSoonAsItsConsoleTells(t *testing.T) {
	const soon = 60 // seconds; the whole patience is 14 minutes here
	tests := []struct {
		name, console, screen string
		want                  string // finding
		stage, cause          string
		outcome               verdict.Outcome
		within                float64
	}{
		{
			"a panic", leaving + loading + kernel + "[ 2.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n", "",
			"PL706 reboot bad clean", "kernel", "VFS: Unable to mount root fs", verdict.BootFailed, soon,
		},
		{
			"a loop", leaving + loading + kernel + "Welcome to Debian!\n" + leaving + loading, "",
			"PL708 reboot bad clean", "userspace", "the machine starts anew after: Welcome to Debian!", verdict.BootFailed, soon,
		},
		{
			"a job that does not end", leaving + loading + kernel + "Welcome to Debian!\nJob ledger.service/start running (30min / no limit)\r", "",
			"PL105 reboot bad ledger.service", "userspace", "ledger.service has been running for 30m", verdict.BootFailed, 3 * soon,
		},
		{
			"silence, and a prompt on the screen", leaving, "GNU GRUB  version 2.06\n\ngrub>",
			"PL706 reboot bad clean", "bootloader", "grub>", verdict.BootFailed, soon,
		},
		{
			"silence in the kernel, and an old picture on the screen", leaving + loading + kernel, "GNU GRUB  version 2.06\n\ngrub>",
			"PL707 reboot bad clean", "kernel", "nothing more was said", verdict.BootFailed, 3 * soon,
		},
		{
			"nothing at all", "", "",
			"PL707 reboot bad clean", "firmware", "the console shows nothing", verdict.BootFailed, 3600,
		},
		{
			"a system that comes up, where nobody can log in", leaving + loading + kernel + "web login: ", "",
			"PL205 reboot bad clean", "ready", "", verdict.Regression, 3600,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				lab.onApply["bad"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
				lab.driver.Screen = tt.screen
				afterPatch(lab, tt.console)
				result := lab.run(scripted("bad"))
				if got := ids(result); result.Outcome != tt.outcome || len(got) != 1 || got[0] != tt.want {
					t.Fatalf("outcome %s (%s), findings %v; want %s, %s", result.Outcome, result.Reason, got, tt.outcome, tt.want)
				}
				boot, f := failedBoot(result), result.Findings[0]
				if boot.Stage != tt.stage || !strings.Contains(boot.Cause, tt.cause) || boot.Seconds > tt.within {
					t.Errorf("stage %s, cause %q after %v s; want %s, %q within %v s", boot.Stage, boot.Cause, boot.Seconds, tt.stage, tt.cause, tt.within)
				}
				if f.Remedy == "" || len(f.Evidence) == 0 {
					t.Errorf("remedy %q, evidence %v", f.Remedy, f.Evidence)
				}
				shown, err := os.ReadFile(result.RunDir + "/" + rundir.ScreenText)
				if wanted := f.Evidence[0].File == rundir.ScreenText; wanted != (err == nil) || wanted && string(shown) != tt.screen {
					t.Errorf("%s holds %q, %v; the first evidence is %s", rundir.ScreenText, shown, err, f.Evidence[0].File)
				}
			})
		})
	}
}

func TestALoopThatLetsUsInForAMomentIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.onApply["bad"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		lab.bootsAgain = func(s *server) bool {
			s.console(leaving + loading + kernel + "web login: ")
			if s.patched {
				s.console(leaving + loading)
			}
			return true
		}
		result := lab.run(scripted("bad"))
		if result.Outcome != verdict.BootFailed || len(ids(result)) != 1 || result.Findings[0].ID != "PL708" {
			t.Errorf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
		}
	})
}

func TestAnUnpatchedGuestThatPanicsIsTheLabs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.bootsAgain = func(s *server) bool {
			s.console(leaving + loading + kernel + "[ 2.0] Kernel panic - not syncing: Attempted to kill init!\n")
			return false
		}
		result := lab.run(scripted("good"))
		if result.Outcome != verdict.Testbed || !strings.Contains(result.Reason, "Attempted to kill init!") {
			t.Errorf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
		}
	})
}
