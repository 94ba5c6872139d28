package drivertest

// BootGreeting is what the guest on [BootDisk] writes to its first serial port at each boot.
const BootGreeting = "patchlab boot sector\n"

// Beat is what it writes there about once a second from then on, without end.
const Beat = "."

// BootDisk is a raw disk with the smallest guest there is: a boot sector that greets and then beats.
func BootDisk() []byte {
	const sector = 512
	code := []byte{
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd0, // mov ss, ax
		0xbc, 0x00, 0x7c, // mov sp, 0x7c00: a stack for the BIOS, which counts the timer's ticks
	}
	for _, char := range []byte(BootGreeting) {
		code = append(
			code,
			0xb0, char, // mov al, char
			0xba, 0xf8, 0x03, // mov dx, 0x3f8: the first serial port
			0xee, // out dx, al
		)
	}
	code = append(
		code,
		0xfb,             // sti: the timer ticks 18.2 times a second
		0xb9, 0x12, 0x00, // beat: mov cx, 18
		0xf4,       // wait: hlt
		0xe2, 0xfd, // loop wait
		0xb0, Beat[0], // mov al, '.'
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xee,       // out dx, al
		0xeb, 0xf2, // jmp beat
	)
	disk := make([]byte, 1<<20)
	copy(disk, code)
	copy(disk[sector-2:], []byte{0x55, 0xaa}) // the mark of a boot sector
	return disk
}
