package boot_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/boot"
)

const (
	grub   = "\x1b[2;24HGNU GRUB  version 2.06\r\n  Booting `Debian GNU/Linux'\r\nLoading Linux 6.1.0-50-amd64 ...\r\n"
	initrd = "Loading initial ramdisk ...\r\n"
	bds    = "\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x5,0x0)\r\n"
)

func TestConsoleTellsHowFarABootCame(t *testing.T) {
	tests := []struct {
		name, console string
		stage         boot.Stage
		cause         string
	}{
		{"silence", "", boot.Firmware, "the console shows nothing"},
		{"no disk", "SeaBIOS (version 1.16)\r\nBooting from Hard Disk...\r\nNo bootable device.\r\n", boot.Firmware, "No bootable device."},
		{
			"no disk for EFI firmware", bds + "\x1b[1mBdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x5,0x0): Not Found\r\n",
			boot.Firmware, "BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x5,0x0): Not Found",
		},
		{"grub of EFI hangs", bds + "Welcome to GRUB!\r\n", boot.Bootloader, ""},
		{"a kernel started by EFI", bds + "Welcome to GRUB!\r\nEFI stub: Loaded initrd from command line option\r\n", boot.Kernel, ""},
		{"a system says who it is", bds + "Welcome to GRUB!\r\nWelcome to Debian GNU/Linux 12 (bookworm)!\r\n", boot.Userspace, ""},
		{"grub cannot find its files", "GRUB loading.\r\nerror: no such partition.\r\ngrub rescue> ", boot.Bootloader, "grub rescue>"},
		{"the entry's kernel is gone", grub + "error: file `/boot/vmlinuz-6.1.0-50-amd64' not found.\r\n", boot.Bootloader, "error: file `/boot/vmlinuz-6.1.0-50-amd64' not found."},
		{"no root file system", grub + initrd + "[1.2] VFS: Unable to mount root fs on unknown-block(0,0)\r\n[1.3] Kernel panic - not syncing: VFS\r\n", boot.Kernel, "Kernel panic - not syncing: VFS"},
		{"initramfs shell", grub + initrd + "Begin: Mounting root file system ...\r\nALERT!  /dev/vda9 does not exist.\r\n(initramfs) ", boot.Initramfs, "ALERT!  /dev/vda9 does not exist."},
		{"emergency mode", grub + initrd + "You are in emergency mode. After logging in\r\n", boot.Userspace, "You are in emergency mode. After logging in"},
		{"a quiet boot that came up", grub + initrd + "\r\nDebian GNU/Linux 12 web ttyS0\r\n\r\nweb login: ", boot.Ready, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "console.log")
			before := "an earlier boot came up\r\nweb login: "
			if err := os.WriteFile(file, []byte(before+tt.console), 0o600); err != nil {
				t.Fatal(err)
			}
			seen := boot.Read(file, int64(len(before)))
			if seen.Stage != tt.stage || seen.Cause != tt.cause {
				t.Errorf("stage %s, cause %q; want %s, %q", seen.Stage, seen.Cause, tt.stage, tt.cause)
			}
		})
	}
}

func TestAHostileConsoleIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console.log")
	hostile := strings.Repeat("\x1b]0;title\x07x", 1<<20) + "\nlast words\n"
	if err := os.WriteFile(file, []byte(hostile), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := boot.Read(file, 0)
	last := seen.Lines[len(seen.Lines)-1]
	if last != "last words" {
		t.Errorf("the last line is %q", last)
	}
	for _, line := range seen.Lines {
		if len(line) > 2000 || strings.ContainsRune(line, '\x1b') {
			t.Errorf("a line of %d bytes came through", len(line))
		}
	}
}

func TestWhereAPanicEndsDoesNotMoveWhileTheConsoleGrows(t *testing.T) {
	t.Parallel()
	const panicked = "[   99.0] Kernel panic - not syncing: sysrq triggered crash\n[   99.1] CPU: 0 PID: 1 Comm: sh\n"
	console := filepath.Join(t.TempDir(), "console.log")
	file, err := os.Create(console)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // what was written was read
	if _, err := file.WriteString(panicked); err != nil {
		t.Fatal(err)
	}
	grown := make(chan error, 1)
	go func() {
		for range 5000 {
			if _, err := file.WriteString("SeaBIOS (version 1.16.2)\n"); err != nil {
				grown <- err
				return
			}
		}
		grown <- nil
	}()
	for {
		after, fell := boot.Fallen(console, 0)
		if !fell || after != int64(len(panicked)) {
			t.Fatalf("the panic is told to end at %d (%t), want %d", after, fell, len(panicked))
		}
		select {
		case err := <-grown:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}
