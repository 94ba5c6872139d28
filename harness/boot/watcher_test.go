package boot_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/boot"
)

// control is how long the stages of an emulated guest took without a patch.
var control = boot.Times{boot.Firmware: 3, boot.Bootloader: 4, boot.Kernel: 12, boot.Initramfs: 5, boot.Userspace: 10, boot.Services: 25, boot.Ready: 2}

var patience = boot.Patience{Quiet: 6 * time.Second, Tell: 25 * time.Second, Silence: 40 * time.Second, Job: 90 * time.Second}

// growing is a console that a guest writes to while a watcher looks at it every second.
type growing struct {
	t       *testing.T
	file    string
	watcher *boot.Watcher
	now     time.Time
	share   float64
}

func newGrowing(t *testing.T, control boot.Times) *growing {
	t.Helper()
	g := &growing{t: t, file: filepath.Join(t.TempDir(), "console.log"), now: time.Unix(1_800_000_000, 0), share: 1}
	before := "what an earlier boot said\nKernel panic - not syncing: long ago\n"
	g.write(before)
	g.watcher = boot.NewWatcher(boot.Watch{Console: g.file, Mark: int64(len(before)), Control: control, Patience: patience})
	return g
}

func (g *growing) write(text string) {
	g.t.Helper()
	file, err := os.OpenFile(g.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := file.WriteString(text); err != nil {
		g.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		g.t.Fatal(err)
	}
}

// look lets seconds pass, and returns after how many of them the boot was over, or -1.
func (g *growing) look(seconds int) (boot.Seen, int) {
	var seen boot.Seen
	var over bool
	for i := range seconds {
		if seen, over = g.watcher.Look(boot.Glance{Now: g.now, Interval: time.Second, Share: g.share}); over {
			return seen, i
		}
		g.now = g.now.Add(time.Second)
	}
	return seen, -1
}

// play writes a recording, a little every second, and returns what is left to say when the boot is over before.
func (g *growing) play(recording []byte) (boot.Seen, int) {
	const perSecond = 1500
	for len(recording) > 0 {
		n := min(perSecond, len(recording))
		g.write(string(recording[:n]))
		recording = recording[n:]
		if seen, over := g.look(1); over >= 0 {
			return seen, len(recording)
		}
	}
	return boot.Seen{}, 0
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestAnEndIsToldWithin30SecondsAndNotBeforeItIsSaid(t *testing.T) {
	for _, name := range ended {
		t.Run(name, func(t *testing.T) {
			g := newGrowing(t, control)
			if seen, left := g.play(read(t, name+".console")); left > 0 {
				t.Fatalf("%d bytes too early: stage %s, %q", left, seen.Stage, seen.Cause)
			}
			seen, after := g.look(30)
			if after < 0 || seen.State != boot.Ended {
				t.Errorf("after 30 s the state is %d, the stage %s", seen.State, seen.Stage)
			}
		})
	}
}

func TestABootThatComesUpIsNeverOver(t *testing.T) {
	for _, name := range []string{"came-up"} {
		g := newGrowing(t, control)
		if seen, left := g.play(read(t, name+".console")); left > 0 {
			t.Fatalf("%s, %d bytes before its end: stage %s, %q", name, left, seen.Stage, seen.Cause)
		}
		if seen, after := g.look(3600); after >= 0 {
			t.Errorf("%s: over after %d s: stage %s, %q", name, after, seen.Stage, seen.Cause)
		}
	}
}

func TestTheStagesOfABootAreTimed(t *testing.T) {
	g := newGrowing(t, nil)
	g.write("Stopped target basic.target\n")
	g.look(7) // the boot before goes down: that is not the next one's
	g.write("[ 99.0] reboot: Restarting system\n")
	g.look(2)
	g.write("GNU GRUB  version 2.06\nLoading Linux 6.1 ...\n")
	g.look(3)
	g.write("Loading initial ramdisk ...\n[ 0.0] Linux version 6.1\n")
	g.look(10)
	g.write("Welcome to Debian!\n")
	g.look(5)
	times := g.watcher.Times()
	want := boot.Times{boot.Firmware: 2, boot.Bootloader: 3, boot.Kernel: 10, boot.Userspace: 4}
	for stage, seconds := range want {
		if times[stage] < seconds-1 || times[stage] > seconds+1 {
			t.Errorf("stage %s took %v s, want about %v", stage, times[stage], seconds)
		}
	}
	if _, seen := times[boot.Initramfs]; seen {
		t.Error("a stage that did not show has a time")
	}
}

func TestAnUnpatchedGuestIsGivenTheWholePatience(t *testing.T) {
	g := newGrowing(t, nil)
	g.write(begun + "Welcome to Debian!\n")
	for range 600 {
		g.write("[  *** ] Job ledger.service/start running (9min 45s / no limit)\r")
		if seen, after := g.look(1); after >= 0 {
			t.Fatalf("it is over: %q", seen.Cause)
		}
	}
}

func TestAPromptOfTheBootBeforeIsNoStart(t *testing.T) {
	g := newGrowing(t, control)
	g.write("\nweb login: \nStopping nginx.service\n" + begun)
	if seen, after := g.look(2); after >= 0 {
		t.Errorf("over: state %d, %q", seen.State, seen.Cause)
	}
}

const begun = "[ 99.0] reboot: Restarting system\nGNU GRUB  version 2.06\nLoading Linux 6.1 ...\nLoading initial ramdisk ...\n[ 0.0] Linux version 6.1\n"

func TestASilentStageHangsAfterThreeTimesWhatItTook(t *testing.T) {
	tests := []struct {
		name, console string
		control       boot.Times
		from, to      int // seconds of silence; -1 is never
	}{
		{"a kernel: its 12 s and the least patience of 40", begun, control, 39, 43},
		{"a slow kernel, that took 30 s", begun, boot.Times{boot.Kernel: 30, boot.Ready: 1}, 89, 93},
		{"a userspace may wait for something", begun + "Welcome to Debian!\n", control, 89, 93},
		{"the firmware, after a restart", "[ 99.0] reboot: Restarting system\n", control, 39, 43},
		{"nobody knows how long it takes", begun, nil, -1, -1},
		{"the boot before does not go down", "Stopping nginx.service\n", control, -1, -1},
		{"it came up", begun + "web login: ", control, -1, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGrowing(t, tt.control)
			g.write(tt.console)
			seen, after := g.look(1000)
			if after < tt.from || after > tt.to {
				t.Errorf("over after %d s (%q), want %d to %d", after, seen.Cause, tt.from, tt.to)
			}
			if after >= 0 && seen.State != boot.Hung {
				t.Errorf("the state is %d", seen.State)
			}
		})
	}
}

func TestAHostThatWasAsleepIsNotTheGuestsSilence(t *testing.T) {
	g := newGrowing(t, control)
	g.write(begun)
	g.look(5)
	g.now = g.now.Add(8 * time.Hour)
	if seen, after := g.look(10); after >= 0 {
		t.Errorf("over after %d s: %q", after, seen.Cause)
	}
}

func TestAGuestThatGetsLittleOfABusyHostIsGivenMoreTime(t *testing.T) {
	g := newGrowing(t, control)
	g.share = 0.2
	g.write(begun)
	if seen, after := g.look(1000); after < 5*39 || after > 5*43 {
		t.Errorf("over after %d s: %q", after, seen.Cause)
	}
}

func TestAConsoleThatNeverSaidMoreIsNotMissedLater(t *testing.T) {
	g := newGrowing(t, boot.Times{boot.Kernel: 10, boot.Services: 20}) // there is no prompt on this port
	g.write(begun + "[  OK  ] Started nginx.service.\n")
	if seen, after := g.look(3600); after >= 0 {
		t.Errorf("over after %d s: %q", after, seen.Cause)
	}
}

func TestAJobCountsAsHungOnlyWhenNobodyEndsIt(t *testing.T) {
	tests := []struct {
		name, line string
		hung       bool
	}{
		{"no limit, and long", "[  *** ] Job ledger.service/start running (1min 45s / no limit)", true},
		{"no limit, but not long yet", "[  *** ] Job ledger.service/start running (1min 10s / no limit)", false},
		{"the guest's own limit", "[  *** ] Job ledger.service/start running (4min 59s / 5min)", false},
		{"told by its description", "[  *** ] A start job is running for Ledger (1min 45s / no limit)", true},
		{"it goes down", "[  *** ] Job ledger.service/stop running (1min 45s / no limit)", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGrowing(t, control)
			g.write(begun + "Welcome to Debian!\n")
			var seen boot.Seen
			after := -1
			for range 100 {
				g.write(tt.line + "\r")
				if seen, after = g.look(1); after >= 0 {
					break
				}
			}
			if (after >= 0) != tt.hung || tt.hung && seen.Job.Unit == "" {
				t.Errorf("over after %d s, job %+v", after, seen.Job)
			}
			if tt.hung {
				return
			}
			g.write("\n[  OK  ] Started ledger.service.\nweb login: ")
			if seen, after := g.look(1000); after >= 0 {
				t.Errorf("it came up, and is over after %d s: %q", after, seen.Cause)
			}
		})
	}
}

func TestASecondStartIsALoop(t *testing.T) {
	again := map[string]string{
		"by itself, with the boot loader's banner":        "GNU GRUB  version 2.06\n",
		"with a word of the kernel":                       "[ 9.0] reboot: Restarting system\n",
		"with the firmware's banner":                      "BdsDxe: loading Boot0001 \"debian\"\n",
		"the kernel again, by a boot loader that is mute": "[ 0.0] Linux version 6.1\n",
	}
	for name, line := range again {
		t.Run(name, func(t *testing.T) {
			g := newGrowing(t, control)
			g.write(begun + "Welcome to Debian!\n")
			g.look(3)
			g.write(line)
			seen, after := g.look(2)
			if after < 0 || seen.State != boot.Looped || seen.Stage != boot.Userspace {
				t.Errorf("over after %d s, state %d, stage %s", after, seen.State, seen.Stage)
			}
		})
	}
}

func TestABootLoaderThatShowsItsMenuAgainIsNoLoop(t *testing.T) {
	g := newGrowing(t, control)
	g.write("[ 99.0] reboot: Restarting system\nGNU GRUB  version 2.06\nLoading Linux 6.1 ...\nLoading initial ramdisk ...\nerror: file `/boot/initrd' not found.\nGNU GRUB  version 2.06\n")
	if seen, after := g.look(20); after >= 0 {
		t.Errorf("over after %d s: state %d", after, seen.State)
	}
}

func TestAGuestThatAnsweredIsOverOnlyByAPanicOrALoop(t *testing.T) {
	for line, over := range map[string]bool{
		"You are in emergency mode. After logging in\n":               false, // somebody echoed it
		"[ 20.0] Kernel panic - not syncing: sysrq triggered crash\n": true,
		"GNU GRUB  version 2.06\n":                                    true,
	} {
		g := newGrowing(t, control)
		g.write(begun + "Welcome to Debian!\n")
		g.look(1)
		g.watcher.Answered()
		g.write(line)
		if seen, after := g.look(1000); (after >= 0) != over {
			t.Errorf("%q: over after %d s, stage %s", line, after, seen.Stage)
		}
	}
}

// ended are the recordings of boots that said that they went no further.
var ended = []string{"initrd-deleted", "kernel-old-removed", "no-initrd-entry", "fstab-typo", "nothing-to-boot-efi", "root-not-there"}

// A boot loader's prompt may be on the screen alone: nobody has to wait until the console's silence is too long.
func TestAPromptOnTheScreenEndsTheWaiting(t *testing.T) {
	t.Parallel()
	prompt, err := os.ReadFile("testdata/grub-cfg-empty.screen")
	if err != nil {
		t.Fatal(err)
	}
	menu := []byte("GNU GRUB  version 2.06\n*Debian GNU/Linux\n Advanced options for Debian GNU/Linux\n")
	for _, tt := range []struct {
		name   string
		screen []byte
		says   string // on the console
		state  boot.State
		after  int // seconds
	}{
		{"a prompt", prompt, "", boot.Ended, 12},
		{"a menu", menu, "", boot.Hung, 41},
		{"a prompt of an earlier boot, and the kernel speaks", prompt, "[    0.0] Linux version 6.1\n", boot.Hung, 41},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGrowing(t, control)
			g.watcher = boot.NewWatcher(boot.Watch{
				Console: g.file, Mark: boot.Mark(g.file), Control: control, Patience: patience, Screen: func() []byte { return tt.screen },
			})
			g.write("reboot: Restarting system\n" + tt.says)
			seen, after := g.look(60)
			if seen.State != tt.state || after < tt.after-1 || after > tt.after+1 || seen.Shown != (tt.state == boot.Ended) {
				t.Errorf("%v after %d s, shown %v: %+v", seen.State, after, seen.Shown, seen)
			}
		})
	}
}
