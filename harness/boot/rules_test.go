package boot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recordings are consoles of real guests that were broken from inside, from the request to reboot on: see testdata/README.
var recordings = []struct {
	name  string
	state State
	stage Stage
	cause string // part of it
}{
	{"came-up", UnderWay, Ready, ""},
	{"initrd-deleted", Ended, Bootloader, "error: file `/boot/initrd.img-6.1.0-50-amd64' not found."},
	{"kernel-old-removed", Ended, Bootloader, "error: file `/boot/vmlinuz-6.1.0-50-amd64' not found."},
	{"no-initrd-entry", Ended, Kernel, "VFS: Unable to mount root fs on unknown-block(0,0)"},
	{"came-up-efi", UnderWay, Ready, ""},
	{"slow-unit", UnderWay, Ready, ""},
	{"grub-cfg-empty-efi", Ended, Bootloader, "grub>"},
	{"kernel-no-modules", Ended, Initramfs, "ALERT!  UUID=8205082a-205d-4b2e-aebe-a760734f6264 does not exist."},
	{"initrd-too-big", Ended, Bootloader, "error: out of memory."},
	{"too-little-memory", Ended, Kernel, "System is deadlocked on memory"},
	{"memory-eaten", Ended, Initramfs, "Out of memory: Killed process 103 (udevadm)"},
	{"no-init", Ended, Initramfs, "Target filesystem doesn't have requested /sbin/init."},
	{"init-fails", Ended, Initramfs, "/sbin/init: error while loading shared libraries: libc.so.6"},
	{"sysrq-panic", Ended, Initramfs, "sysrq triggered crash"},
	{"only-network", Ended, Firmware, "Nothing to boot: No such file or directory"},
	{"only-network-efi", UnderWay, Firmware, "Nothing to boot: "},
	{"nothing-to-boot-efi", Ended, Firmware, "BdsDxe: failed to load Boot0001"},
	{"boot-loops", Looped, Services, "Starting self-heal.service…Reboot when the licence is gone..."},
	{"root-not-there", Ended, Initramfs, "ALERT!  UUID=0b0e9d6c-5f0e-4a5e-9a57-3f1a9d1f7c11 does not exist."},
	{"fstab-typo", Ended, Userspace, "Dependency failed for srv-data.mount - /srv/data."},
}

// screens are what the screens of guests showed whose consoles said nothing.
var screens = []struct {
	name  string
	state State
	stage Stage
	cause string
}{
	{"nothing-to-boot", Ended, Firmware, "No bootable device."},
	{"grub-cfg-empty", Ended, Bootloader, "grub>"},
	{"grub-rescue", Ended, Bootloader, "error: file `/boot/grub/i386-pc/normal.mod' not found."},
}

func TestRecordedConsolesTellWhereTheBootEndedAndWhy(t *testing.T) {
	for _, tt := range recordings {
		t.Run(tt.name, func(t *testing.T) {
			seen := Classify(recorded(t, tt.name+".console"))
			if seen.State != tt.state || seen.Stage != tt.stage || !strings.Contains(seen.Cause, tt.cause) || (tt.cause == "") != (seen.Cause == "") {
				t.Errorf("state %d, stage %s, cause %q; want %d, %s, %q", seen.State, seen.Stage, seen.Cause, tt.state, tt.stage, tt.cause)
			}
			if seen.State != UnderWay && !slices.ContainsFunc(seen.Lines, func(line string) bool { return strings.Contains(line, tt.cause) }) {
				t.Errorf("the cause %q is not among the lines that prove it: %q", seen.Cause, seen.Lines)
			}
			if seen.State == Ended && seen.Remedy == "" {
				t.Error("there is no remedy")
			}
		})
	}
}

func TestTheScreenTellsWhatTheConsoleDoesNot(t *testing.T) {
	for _, tt := range screens {
		t.Run(tt.name, func(t *testing.T) {
			hung := Classify(recorded(t, tt.name+".console"))
			hung.State, hung.Cause = Hung, "nothing more was said for 1m0s"
			if hung.Stage != Firmware {
				t.Errorf("the console alone tells of stage %s", hung.Stage)
			}
			seen := OnScreen(hung, recorded(t, tt.name+".screen"))
			if seen.State != tt.state || seen.Stage != tt.stage || seen.Cause != tt.cause {
				t.Errorf("state %d, stage %s, cause %q; want %d, %s, %q", seen.State, seen.Stage, seen.Cause, tt.state, tt.stage, tt.cause)
			}
		})
	}
}

func TestAnOldPictureOnTheScreenTellsNothing(t *testing.T) {
	hung := Seen{State: Hung, Stage: Initramfs, Cause: "nothing more was said for 1m0s"}
	if seen := OnScreen(hung, []byte("GNU GRUB  version 2.06\n\ngrub>")); seen.Stage != Initramfs || seen.State != Hung {
		t.Errorf("the screen moved the boot to %s, %q", seen.Stage, seen.Cause)
	}
}

func TestEveryRuleHasItsRecordedLine(t *testing.T) {
	for _, r := range rules {
		var text string
		for _, end := range []string{".console", ".screen"} {
			if content, err := os.ReadFile(filepath.Join("testdata", r.recorded+end)); err == nil {
				text += string(content) + "\n"
			}
		}
		if !slices.ContainsFunc(strings.FieldsFunc(text, func(c rune) bool { return c == '\n' || c == '\r' }), r.fits) {
			t.Errorf("no line of %s fits %q", r.recorded, r.text)
		}
		if r.remedy == "" {
			t.Errorf("%q has no remedy", r.text)
		}
	}
}

func recorded(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
