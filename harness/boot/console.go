// Package boot reads a guest's serial console, while the guest boots or afterwards, and tells how far the boot came, whether it
// goes on, and if not, why. What lines mean is in one table, the rules.
package boot

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// mostRead bounds what is looked at of a console: a boot writes some tens of KiB, a hostile guest any amount.
const mostRead = 1 << 20

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

// Fallen tells whether a kernel has panicked since mark, and where on the console its last words end. As long as it speaks, it may be
// told a place before their end.
func Fallen(console string, mark int64) (after int64, fell bool) {
	content, place, err := readFrom(console, mark)
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(content) {
		place += int64(len(line))
		isKernels := kernelTime.Match(bytes.TrimSpace(line))
		switch {
		case bytes.Contains(line, []byte("Kernel panic - not syncing")):
			after, fell = place, true
		case fell && isKernels && !bytes.Contains(line, []byte("Linux version ")):
			after = place
		case fell && len(bytes.TrimSpace(line)) > 0:
			return after, true
		}
	}
	return after, fell
}

// Begun tells whether a machine has started since mark, where another one of its boots was over.
func Begun(console string, mark int64) bool {
	content, _, err := readFrom(console, mark)
	return err == nil && Classify(content).begun
}

// Read tells how far the boot came whose lines begin at mark.
func Read(console string, mark int64) Seen {
	content, _, err := readFrom(console, mark)
	if err != nil || len(bytes.TrimSpace(content)) == 0 {
		return Seen{Stage: Firmware, Cause: "the console shows nothing"}
	}
	return Classify(content)
}

// readFrom returns what a console says since mark, at most its end, and where on it that begins. To ask for the console's length once more
// would be another look: it grows.
func readFrom(console string, mark int64) (content []byte, start int64, err error) {
	file, err := os.Open(console)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	start = max(mark, info.Size()-mostRead)
	content, err = io.ReadAll(io.NewSectionReader(file, start, mostRead))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return content, start, err
}
