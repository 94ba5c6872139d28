package grub_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/grub"
)

func TestASerialConsoleIsReadAsItsScreen(t *testing.T) {
	recorded, err := os.ReadFile("testdata/menu.console") // of a real GRUB: its menu, the submenu, an entry that is edited
	if err != nil {
		t.Fatal(err)
	}
	before := func(text string) []byte { // what the terminal has received when it shows the text
		at := bytes.Index(recorded, []byte(text))
		if at < 0 {
			t.Fatalf("the recording has no %q", text)
		}
		return recorded[:at+len(text)]
	}
	tests := []struct {
		name     string
		received []byte
		want     grub.Screen
	}{
		{
			"a menu that counts down", before("executed automatically in 1s."),
			grub.Screen{Showing: grub.Choice, Counting: true, Rows: []string{"Debian GNU/Linux", "Advanced options for Debian GNU/Linux"}},
		},
		{
			"another entry is highlighted, and nothing counts", before("*Advanced options for Debian GNU/Linux"),
			grub.Screen{Showing: grub.Choice, Rows: []string{"Debian GNU/Linux", "Advanced options for Debian GNU/Linux"}, Chosen: 1},
		},
		{
			"an entry is edited", recorded,
			grub.Screen{Showing: grub.Editor, Chosen: -1, Rows: []string{
				"setparams 'Debian GNU/Linux, with Linux 6.1.0-56-amd64'", "",
				"                load_video", "                insmod gzio",
				"                if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi",
				"                insmod part_msdos", "                insmod ext2",
				"                search --no-floppy --fs-uuid --set=root 8205082a-205d-4b2e-aebe-a760734f6264",
				"                echo        'Loading Linux 6.1.0-56-amd64 ...'",
				"                linux        /boot/vmlinuz-6.1.0-56-amd64 root=UUID=8205082",
			}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, grub.ReadScreen(grub.Render(tt.received))); diff != "" {
				t.Errorf("screen (-want +got):\n%s\n%s", diff, grub.Render(tt.received))
			}
		})
	}
}

func TestTheConsoleOfAnEFIFirmwareIsReadInItsOwnWidth(t *testing.T) {
	tests := map[string]struct {
		recording string // of a real GRUB on an EFI machine, whose console has 100 columns
		want      grub.Screen
	}{
		"a command that would be cut off at 80": {"efi-prompt", grub.Screen{Showing: grub.Prompt, Chosen: -1, Rows: []string{
			"", "                                 GNU GRUB  version 2.06-13+deb12u2", "",
			"   Minimal BASH-like line editing is supported. For the first word, TAB lists possible",
			"   command completions. Anywhere else TAB lists possible device or file completions.", "", "",
			"grub> linux /boot/vmlinuz-6.1.0-50-amd64 root=UUID=821bd421-b929-472f-9624-326d88555c46 ro console=t",
			"ty",
		}}},
		// There the menu is shown twice, for the serial line is a terminal of GRUB's own, too, and has 80.
		"a menu on two terminals at once": {"efi-menu", grub.Screen{
			Showing: grub.Choice, Rows: []string{"Debian GNU/Linux", "Advanced options for Debian GNU/Linux", "UEFI Firmware Settings"},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			recorded, err := os.ReadFile("testdata/" + tt.recording + ".console")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, grub.ReadScreen(grub.Render(recorded))); diff != "" {
				t.Errorf("screen (-want +got):\n%s", diff)
			}
		})
	}
}

func TestATextScreenIsRead(t *testing.T) {
	const foot = "\n\n      Use the   and   keys to select which entry is highlighted.\n"
	for name, tt := range map[string]struct {
		text string
		want grub.Screen
	}{
		"a menu": {
			"\n                       GNU GRUB  version 2.06\n\n\n   Debian GNU/Linux\n  *Advanced options\n" + foot,
			grub.Screen{Showing: grub.Choice, Rows: []string{"Debian GNU/Linux", "Advanced options"}, Chosen: 1},
		},
		"a prompt":            {"GNU GRUB\n\ngrub> ls\n(hd0)\ngrub>\n\n", grub.Screen{Showing: grub.Prompt, Chosen: -1, Rows: []string{"GNU GRUB", "", "grub> ls", "(hd0)", "grub>", "", ""}}},
		"what little is left": {"error: no such partition.\ngrub rescue>", grub.Screen{Showing: grub.RescuePrompt, Chosen: -1, Rows: []string{"error: no such partition.", "grub rescue>"}}},
		"firmware":            {"SeaBIOS (version 1.16)\nBooting from Hard Disk...", grub.Screen{Chosen: -1}},
	} {
		if diff := cmp.Diff(tt.want, grub.ReadScreen([]byte(tt.text))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
