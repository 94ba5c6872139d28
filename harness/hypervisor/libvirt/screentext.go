package libvirt

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"

	golibvirt "github.com/digitalocean/go-libvirt"
)

// The text screen of a PC: a byte for the character and one for its colours, 25 rows of 80.
const (
	textColumns = 80
	textRows    = 25
)

// readText is QEMU's command that shows the memory where a PC keeps its text screen.
var readText = fmt.Sprintf("xp /%dxb 0xb8000", 2*textColumns*textRows)

// ScreenText returns the text screen.
func (d *domain) ScreenText(ctx context.Context) ([]byte, error) {
	act := "reading the screen of domain " + d.handle.Name
	shown, err := call(ctx, d.driver, act, func(l *golibvirt.Libvirt) (string, error) {
		return l.QEMUDomainMonitorCommand(d.handle, readText, humanMonitor)
	})
	if err != nil {
		return nil, err
	}
	return decodeText(shown), nil
}

// shownByte is one byte of memory as QEMU shows it; the address at the start of a line has no 0x.
var shownByte = regexp.MustCompile(`0x([0-9a-f]{2})\b`)

// decodeText reads rows of text from QEMU's picture of the memory. What is no ASCII was drawn, or is none at all.
func decodeText(shown string) []byte {
	var text bytes.Buffer
	var row []byte
	for i, found := range shownByte.FindAllStringSubmatch(shown, 2*textColumns*textRows) {
		if i%2 == 1 {
			continue // a colour
		}
		value, err := strconv.ParseUint(found[1], 16, 8)
		if char := byte(value); err == nil && char >= ' ' && char <= '~' {
			row = append(row, char)
		} else {
			row = append(row, ' ')
		}
		if len(row) == textColumns {
			text.Write(append(bytes.TrimRight(row, " "), '\n'))
			row = row[:0]
		}
	}
	return bytes.TrimRight(text.Bytes(), "\n")
}
