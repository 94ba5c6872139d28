package boot

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

// rank tells which of two stages comes later.
func (s Stage) rank() int {
	ranks := map[Stage]int{Firmware: 0, Bootloader: 1, Kernel: 2, Initramfs: 3, Userspace: 4, Services: 5, Ready: 6}
	return ranks[s]
}

// IsPast tells whether a boot has come further than a stage.
func (s Seen) IsPast(stage Stage) bool { return s.Stage.rank() > stage.rank() }

// later returns the stage that comes later; a line of an earlier stage does not take a boot back.
func later(a, b Stage) Stage {
	if b.rank() > a.rank() {
		return b
	}
	return a
}
