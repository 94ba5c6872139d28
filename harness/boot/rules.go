package boot

// sign is a line by which a stage is known to have begun.
type sign struct {
	text  string // part of the line
	but   string // and this is not in it
	stage Stage
	// anew is what only the start of a machine says: after a later stage, it has started once more.
	anew bool
	runs bool // a kernel says it
}

// signs are in the order of the stages. Debian may boot quietly: between the boot loader's last line and the first unit nothing
// need appear.
var signs = []sign{
	{text: "SeaBIOS (version", stage: Firmware, anew: true},
	{text: "BdsDxe: ", stage: Firmware, anew: true},
	{text: "GRUB loading", stage: Bootloader, anew: true},
	{text: "Welcome to GRUB", stage: Bootloader, anew: true},
	{text: "GNU GRUB", stage: Bootloader, anew: true},
	{text: "grub rescue>", stage: Bootloader},
	{text: "Loading Linux", stage: Bootloader},
	{text: "Loading initial ramdisk", stage: Kernel},
	{text: "EFI stub: ", stage: Kernel},
	{text: "Linux version ", stage: Kernel, anew: true, runs: true},
	{text: "Loading, please wait", stage: Initramfs, runs: true},
	{text: "Begin: ", stage: Initramfs, runs: true},
	{text: "(initramfs)", stage: Initramfs, runs: true},
	{text: "Welcome to ", but: "GRUB", stage: Userspace, runs: true},
	{text: "Reached target", stage: Services, runs: true},
	{text: "Started ", stage: Services, runs: true},
	{text: " login:", stage: Ready, runs: true},
}

// leaves are lines with which a machine that reboots leaves the old boot: whatever follows is the next one's.
var leaves = []string{"reboot: Restarting system"}

// meaning of a line for the boot that wrote it.
type meaning int

const (
	// ends is a line after which nothing goes on by itself.
	ends meaning = iota + 1
	// explains is a line that a boot may survive. When it ends at that stage or the next one, this is why, and where it went wrong.
	explains
)

// rule is what one line tells.
type rule struct {
	// recorded names the console of a guest that was broken in this way, testdata/NAME.console, which is the rule's test.
	recorded string
	text     string // part of the line
	also     string // another part of it
	but      string // and this is not in it
	means    meaning
	// stage where the boot went wrong; empty is the one that it had come to.
	stage  Stage
	fatal  bool // the guest does not live any more, also if it has answered over ssh since
	remedy string
}

// What to do, where several lines ask for the same.
const (
	remedyLoader = "Start from a rescue medium and put the boot loader back where the firmware looks: grub-install; with EFI firmware efibootmgr shows its entries."
	remedyInitrd = "Start an older kernel from the boot menu, and make the initrd again: update-initramfs -c -k RELEASE, then update-grub."
	remedyGrub   = "At the boot loader's prompt load the kernel by hand (linux /boot/vmlinuz-... root=..., initrd /boot/initrd.img-..., boot), then run update-grub; without a prompt use a rescue medium and grub-install."
	remedyMemory = "Give the machine more memory, or start it with less to do: at the boot menu take hugepages= and mem= off the kernel's command line; in /etc/sysctl.d look for vm.nr_hugepages."
	remedyInit   = "Start with init=/bin/bash on the kernel's command line, or from a rescue medium; install again what the line names (systemd-sysv, libc6)."
	remedyRoot   = "At the prompt look for the root device (ls /dev, blkid, cat /proc/modules): either its driver is not in the initrd, or root= names something else. Start an older kernel, then update-initramfs -u -k all and update-grub."
	remedyFstab  = "Log in at the console (which needs a root password) or start with systemd.mask=UNIT on the kernel's command line; correct the line in /etc/fstab, or add nofail."
	remedyJob    = "Start with systemd.mask=UNIT on the kernel's command line; give the unit a TimeoutStartSec, or take away what waits for it (Before=, Requires=)."
)

// rules are asked of every line of a boot. Of several that explain its end, the first of this table does.
var rules = []rule{
	// Firmware.
	{recorded: "nothing-to-boot", text: "No bootable device.", means: ends, stage: Firmware, remedy: remedyLoader},
	{recorded: "only-network", text: "Nothing to boot: ", means: explains, stage: Firmware, remedy: remedyLoader},
	{recorded: "only-network-efi", text: "PXE-E", means: explains, stage: Firmware, remedy: remedyLoader},
	{recorded: "nothing-to-boot-efi", text: "BdsDxe: failed to load", means: explains, stage: Firmware, remedy: remedyLoader},
	{recorded: "nothing-to-boot-efi", text: "Shell>", means: ends, stage: Firmware, remedy: remedyLoader},

	// Boot loader.
	{recorded: "grub-rescue", text: "grub rescue>", means: ends, stage: Bootloader, remedy: remedyGrub},
	{recorded: "grub-cfg-empty", text: "grub>", means: ends, stage: Bootloader, remedy: remedyGrub},
	{recorded: "kernel-old-removed", text: "Failed to boot both default and fallback entries", means: ends, stage: Bootloader, remedy: remedyGrub},
	{recorded: "grub-rescue", text: "normal.mod' not found", means: explains, stage: Bootloader, remedy: remedyGrub},
	{
		recorded: "initrd-too-big", text: "error: out of memory.", means: explains, stage: Bootloader,
		remedy: "Start an older kernel from the boot menu; make the initrd smaller (MODULES=dep in /etc/initramfs-tools/initramfs.conf, then update-initramfs -u), or give the machine more memory.",
	},
	{recorded: "initrd-deleted", text: "error: file `/boot/initrd", means: explains, stage: Bootloader, remedy: remedyInitrd},
	{recorded: "initrd-deleted", text: "error: file `/boot/", also: "' not found", means: explains, stage: Bootloader, remedy: remedyGrub},

	// Kernel.
	{
		recorded: "no-initrd-entry", text: "Kernel panic - not syncing: VFS: Unable to mount root fs", but: "---[", means: ends, fatal: true, stage: Kernel,
		remedy: remedyInitrd,
	},
	{
		recorded: "too-little-memory", text: "Kernel panic - not syncing: System is deadlocked on memory", but: "---[", means: ends, fatal: true,
		remedy: remedyMemory,
	},
	{recorded: "memory-eaten", text: "Out of memory: Killed process", means: explains, remedy: remedyMemory},
	{recorded: "init-fails", text: "init: error while loading shared libraries", means: explains, remedy: remedyInit},
	{
		recorded: "sysrq-panic", text: "Kernel panic - not syncing: sysrq triggered crash", but: "---[", means: ends, fatal: true,
		remedy: "Nothing is to be mended: somebody asked for this panic (/proc/sysrq-trigger). Start the machine again.",
	},
	{
		recorded: "no-initrd-entry", text: "Kernel panic - not syncing", but: "---[", means: ends, fatal: true,
		remedy: "Start an older kernel from the boot menu; read the panic's first lines for what called it.",
	},

	// Initramfs.
	{recorded: "root-not-there", text: "ALERT!", means: explains, stage: Initramfs, remedy: remedyRoot},
	{recorded: "no-init", text: "Target filesystem doesn't have requested", means: explains, stage: Initramfs, remedy: remedyInit},
	{recorded: "no-init", text: "can't access tty; job control turned off", means: ends, remedy: remedyInit},
	{recorded: "root-not-there", text: "(initramfs)", means: ends, stage: Initramfs, remedy: remedyRoot},

	// Userspace.
	{recorded: "fstab-typo", text: "Dependency failed for ", also: ".mount", means: explains, stage: Userspace, remedy: remedyFstab},
	{recorded: "fstab-typo", text: "You are in emergency mode", means: ends, stage: Userspace, remedy: remedyFstab},
}
