package accel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// iterations of the canary's loop. 50 million take half a second under emulation, tens of milliseconds under KVM, and
// longer than anybody waits under a KVM that traps every instruction.
const iterations = 50_000_000

const (
	bootSectorSize = 512
	floppySize     = 2880 * bootSectorSize // 1.44 MB: SeaBIOS boots no odd size
	exitValue      = 0x10
	// isa-debug-exit ends QEMU with (value << 1) | 1.
	exitCode = exitValue<<1 | 1
	greeting = "OK\n"
)

// bootFloppy is a disk whose boot sector counts down, says OK on the debug port and ends the emulator.
func bootFloppy(loops uint32) []byte {
	code := []byte{
		0xfa,       // cli
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0x8e, 0xd0, // mov ss, ax
		0xbc, 0x00, 0x7c, // mov sp, 0x7c00
		0x66, 0xb9, // mov ecx, loops
	}
	code = binary.LittleEndian.AppendUint32(code, loops)
	code = append(
		code,
		0x66, 0x49, // again: dec ecx
		0x75, 0xfc, // jnz again
	)
	for _, char := range []byte(greeting) {
		code = append(
			code,
			0xb0, char, // mov al, char
			0xba, 0xe9, 0x00, // mov dx, 0xe9: QEMU's debug console
			0xee, // out dx, al
		)
	}
	code = append(
		code,
		0xb0, exitValue, // mov al, exitValue
		0xba, 0xf4, 0x00, // mov dx, 0xf4: isa-debug-exit
		0xee,       // out dx, al
		0xf4,       // hlt
		0xeb, 0xfd, // jmp back to hlt
	)
	disk := make([]byte, floppySize)
	copy(disk, code)
	copy(disk[bootSectorSize-2:], []byte{0x55, 0xaa}) // the mark of a boot sector
	return disk
}

// canary runs the boot sector in an emulator.
type canary struct {
	qemu string
}

func (c canary) run(ctx context.Context, accelerator hypervisor.Accelerator) (took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "patchlab-canary-")
	if err != nil {
		return 0, fmt.Errorf("making a place for the canary: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	disk := filepath.Join(dir, "canary.img")
	if err := os.WriteFile(disk, bootFloppy(iterations), 0o600); err != nil {
		return 0, fmt.Errorf("writing the canary: %w", err)
	}

	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, c.qemu, arguments(accelerator, disk)...)
	command.Stdout, command.Stderr = &stdout, &stderr
	started := time.Now()
	err = command.Run()
	took = time.Since(started)

	if ctx.Err() != nil {
		return took, context.Cause(ctx)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == exitCode && stdout.String() == greeting {
		return took, nil
	}
	if err == nil {
		err = errors.New("it ended without the canary's answer")
	}
	return took, fmt.Errorf("%s: %w: %s", c.qemu, err, bytes.TrimSpace(stderr.Bytes()))
}

// arguments of the emulator, for a canary on a disk.
func arguments(accelerator hypervisor.Accelerator, disk string) []string {
	return []string{
		"-accel", string(accelerator), "-machine", "pc", "-m", "16",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-drive", "file=" + disk + ",format=raw,if=floppy,readonly=on", "-boot", "a",
		"-debugcon", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
	}
}
