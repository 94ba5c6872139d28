// Package boot reads a guest's serial console and tells how far a boot came.
package boot

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/patchlab/patchlab/harness/printable"
)

// Stage of a boot.
type Stage string

// The stages, in their order.
const (
	Firmware   Stage = "firmware"
	Bootloader Stage = "bootloader"
	Kernel     Stage = "kernel"
	Initramfs  Stage = "initramfs"
	Userspace  Stage = "userspace"
	Services   Stage = "services"
	Ready      Stage = "ready"
)

// Seen is what the console shows of one boot.
type Seen struct {
	Stage Stage    // the furthest that the boot came to
	Cause string   // what a line says about its end, "" if none does
	Lines []string // the lines that prove it, at most [mostLines]
}

const (
	// mostRead bounds what is looked at of a console: a boot writes some tens of KiB, a hostile guest any amount.
	mostRead  = 1 << 20
	mostLines = 8
	// longestLine is what is kept of one line: the telling part of a kernel message fits.
	longestLine = 300
)

// signs are the lines by which a stage is known to have begun. Debian boots quietly: between the boot loader's last
// line and the first unit nothing need appear.
var signs = []struct {
	text  string
	stage Stage
	but   string // not with this in the line
}{
	{text: "EFI stub: ", stage: Kernel},
	{text: "GRUB loading", stage: Bootloader},
	{text: "Welcome to GRUB", stage: Bootloader},
	{text: "GNU GRUB", stage: Bootloader},
	{text: "grub rescue>", stage: Bootloader},
	{text: "Loading Linux", stage: Bootloader},
	{text: "Loading initial ramdisk", stage: Kernel},
	{text: "Linux version", stage: Kernel},
	{text: "Loading, please wait", stage: Initramfs},
	{text: "Begin: ", stage: Initramfs},
	{text: "(initramfs)", stage: Initramfs},
	{text: "Welcome to ", stage: Userspace, but: "GRUB"},
	{text: "Emergency Mode", stage: Userspace},
	{text: "emergency mode", stage: Userspace},
	{text: "Reached target", stage: Services},
	{text: "Started ", stage: Services},
	{text: " login:", stage: Ready},
}

// causes are lines that say why a boot goes no further.
var causes = []string{
	"Kernel panic - not syncing", "VFS: Unable to mount root fs", "grub rescue>", "error: file `", "error: no such",
	"error: unknown filesystem", "No bootable device", "No bootable option or device", "BdsDxe: failed to ", "ALERT!",
	"(initramfs)", "You are in emergency mode", "Give root password for maintenance", "Cannot open access to console", "A start job is running for",
	"Out of memory: Killed process",
}

// Mark returns the console's present length: where the next boot's lines will begin. An unreadable console is an empty one.
func Mark(console string) int64 {
	info, err := os.Stat(console)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Witnessed tells whether the console is still what it was at mark. One that was lost on the host proves nothing about a guest.
func Witnessed(console string, mark int64) bool {
	info, err := os.Stat(console)
	return err == nil && info.Size() >= mark
}

// Read tells how far the boot came whose lines begin at mark.
func Read(console string, mark int64) Seen {
	content, err := readFrom(console, mark)
	if err != nil || len(bytes.TrimSpace(content)) == 0 {
		return Seen{Stage: Firmware, Cause: "the console shows nothing"}
	}
	return classify(content)
}

func readFrom(console string, mark int64) ([]byte, error) {
	file, err := os.Open(console)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	start := max(mark, info.Size()-mostRead)
	content, err := io.ReadAll(io.NewSectionReader(file, start, mostRead))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return content, err
}

func classify(content []byte) Seen {
	seen := Seen{Stage: Firmware}
	var lines []string
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(printable.Line(line, longestLine))
		if line == "" {
			continue
		}
		lines = append(lines, line)
		for _, s := range signs {
			if strings.Contains(line, s.text) && (s.but == "" || !strings.Contains(line, s.but)) {
				seen.Stage = later(seen.Stage, s.stage)
			}
		}
		for _, c := range causes {
			if strings.Contains(line, c) {
				seen.Cause = line
			}
		}
	}
	seen.Lines = lines[max(0, len(lines)-mostLines):]
	return seen
}

// later returns the stage that comes later; a line of an earlier stage does not take a boot back.
func later(a, b Stage) Stage {
	rank := map[Stage]int{Firmware: 0, Bootloader: 1, Kernel: 2, Initramfs: 3, Userspace: 4, Services: 5, Ready: 6}
	if rank[b] > rank[a] {
		return b
	}
	return a
}
