package drivertest

// BootGreeting is what the guest on [BootDisk] writes to its first serial port at each boot.
const BootGreeting = "patchlab boot sector\n"

// BootDisk is a raw disk with the smallest guest there is: a boot sector that greets and then idles.
func BootDisk() []byte {
	const sector = 512
	code := []byte{0xfa} // cli: nothing wakes it up any more
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
		0xf4,       // hlt
		0xeb, 0xfd, // jmp back to hlt
	)
	disk := make([]byte, 1<<20)
	copy(disk, code)
	copy(disk[sector-2:], []byte{0x55, 0xaa}) // the mark of a boot sector
	return disk
}
