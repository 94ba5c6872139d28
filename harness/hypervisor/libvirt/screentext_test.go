package libvirt

import (
	"fmt"
	"strings"
	"testing"
)

// shownMemory is QEMU's picture of a text screen: xp /4000xb 0xb8000.
func shownMemory(rows ...string) string {
	memory := make([]byte, 0, 2*textColumns*textRows)
	for i := range textRows {
		row := ""
		if i < len(rows) {
			row = rows[i]
		}
		for _, char := range []byte(row + strings.Repeat(" ", textColumns-len(row))) {
			memory = append(memory, char, 0x07)
		}
	}
	var shown strings.Builder
	for i, value := range memory {
		if i%8 == 0 {
			fmt.Fprintf(&shown, "\r\n%016x:", 0xb8000+i)
		}
		fmt.Fprintf(&shown, " 0x%02x", value)
	}
	return shown.String()
}

func TestTheTextOfAScreenIsReadFromMemory(t *testing.T) {
	tests := []struct {
		name, shown, want string
	}{
		{"rows", shownMemory("GRUB loading.", "", "grub rescue>"), "GRUB loading.\n\ngrub rescue>"},
		{"an empty screen", shownMemory(), ""},
		{"what is no text", shownMemory("\x1b[2J\x00\xdb"), " [2J"},
		{"no answer", "", ""},
		{"half an answer", shownMemory("grub>")[:300], ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(decodeText(tt.shown)); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
