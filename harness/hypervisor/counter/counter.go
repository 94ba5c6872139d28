// Package counter is the smallest guest that has something to lose: it counts, in its memory and on its disk, and tells both on
// its console. A guest that was brought back to an earlier state counts on from what it had told then.
package counter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Count is what the guest told: how far it had counted in memory, and what it then read from its disk, where it writes each
// count. The two are the same as long as memory and disk are of one instant.
type Count struct {
	Memory, Disk uint16
}

// Consistent tells whether memory and disk are of one instant.
func (c Count) Consistent() bool { return c.Memory == c.Disk }

func (c Count) String() string { return fmt.Sprintf("%d in memory, %d on its disk", c.Memory, c.Disk) }

// Told reads all counts that were told in whole, on a console that may hold other words.
func Told(console string) []Count {
	var told []Count
	for line := range strings.Lines(console) {
		if count, ok := parse(line); ok {
			told = append(told, count)
		}
	}
	return told
}

// ToldSince reads those of a console from a place. What the guest was in the middle of telling there is no count.
func ToldSince(console string, place int) []Count {
	console = "\n" + console // so that there is something before each place
	_, whole, _ := strings.Cut(console[min(place, len(console)):], "\n")
	return Told(whole)
}

// Lowest returns the count that is the lowest in memory, of at least one. A guest counts up: it is the first after a revert, if
// there was one between.
func Lowest(told []Count) Count {
	return slices.MinFunc(told, func(a, b Count) int { return cmp.Compare(a.Memory, b.Memory) })
}

// Line is how the guest tells a count.
func (c Count) Line() string { return letters(c.Memory) + " " + letters(c.Disk) + " \n" }

const digits = 4 // of a count, each a letter from A to P

func letters(count uint16) string {
	var word [digits]byte
	for i := range word {
		word[i] = 'A' + byte(count>>(4*(digits-1-i))&0xf)
	}
	return string(word[:])
}

func parse(line string) (Count, bool) {
	const whole = 2*(digits+1) + 1
	if len(line) > whole { // what the firmware wrote last need not end with a line break
		line = line[len(line)-whole:]
	}
	var count Count
	for i, char := range []byte(line) {
		switch {
		case char < 'A' || char > 'P':
		case i < digits:
			count.Memory = count.Memory<<4 | uint16(char-'A')
		default:
			count.Disk = count.Disk<<4 | uint16(char-'A')
		}
	}
	return count, count.Line() == line
}

// Disk is the guest: a raw disk with a boot sector that counts about four times a second without end. At its start it counts on
// from what is on the disk.
func Disk() []byte {
	const sector = 512
	code := []byte{
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0x8e, 0xc0, // mov es, ax
		0x8e, 0xd0, // mov ss, ax
		0xbc, 0x00, 0x7c, // mov sp, 0x7c00
		0x88, 0x16, 0x02, 0x7e, // mov [drive], dl: the disk it was started from
		0xfb,             // sti: the timer ticks 18.2 times a second
		0xe8, 0x32, 0x00, // call read
		0xa1, 0x00, 0x80, // mov ax, [buffer]
		0xa3, 0x00, 0x7e, // mov [count], ax
		0xe8, 0x29, 0x00, // beat: call read
		0x8b, 0x1e, 0x00, 0x7e, // mov bx, [count]
		0xe8, 0x3a, 0x00, // call tell
		0x8b, 0x1e, 0x00, 0x80, // mov bx, [buffer]
		0xe8, 0x33, 0x00, // call tell
		0xb0, 0x0a, // mov al, '\n'
		0xee,                   // out dx, al
		0xff, 0x06, 0x00, 0x7e, // inc word [count]
		0xa1, 0x00, 0x7e, // mov ax, [count]
		0xa3, 0x00, 0x80, // mov [buffer], ax
		0xb8, 0x01, 0x03, // mov ax, 0x0301: write one sector
		0xe8, 0x11, 0x00, // call disk
		0xb9, 0x04, 0x00, // mov cx, 4
		0xf4,       // tick: hlt
		0xe2, 0xfd, // loop tick
		0xeb, 0xd4, // jmp beat
		0xc7, 0x06, 0x00, 0x80, 0xff, 0xff, // read: mov word [buffer], 0xffff: told if the disk does not answer
		0xb8, 0x01, 0x02, // mov ax, 0x0201: read one sector
		0xbb, 0x00, 0x80, // disk: mov bx, buffer
		0xb9, 0x02, 0x00, // mov cx, 2: the second sector
		0xb6, 0x00, // mov dh, 0
		0x8a, 0x16, 0x02, 0x7e, // mov dl, [drive]
		0xcd, 0x13, // int 0x13
		0xc3,             // ret
		0xba, 0xf8, 0x03, // tell: mov dx, 0x3f8: the first serial port
		0xb9, digits, 0x00, // mov cx, digits
		0xc1, 0xc3, 0x04, // digit: rol bx, 4
		0x88, 0xd8, // mov al, bl
		0x24, 0x0f, // and al, 0xf
		0x04, 'A', // add al, 'A'
		0xee,       // out dx, al
		0xe2, 0xf4, // loop digit
		0xb0, 0x20, // mov al, ' '
		0xee, // out dx, al
		0xc3, // ret
	}
	disk := make([]byte, 1<<20)
	copy(disk, code)
	copy(disk[sector-2:], []byte{0x55, 0xaa}) // the mark of a boot sector
	return disk
}
