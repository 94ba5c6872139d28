package accel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// lookScript prints the other machine's boot, its emulator and what becomes of its KVM, each in a line of its own.
const lookScript = `PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
qemu=$(command -v '%s') || exit 3
cat /proc/sys/kernel/random/boot_id
echo "$qemu $(stat -Lc '%%s %%Y' "$qemu")"
if [ ! -e %[2]s ]; then echo absent; elif [ -r %[2]s ] && [ -w %[2]s ]; then echo works; else echo closed; fi
`

// lookThere asks another machine. Its answer is kept under its boot id: names may lead elsewhere tomorrow.
func lookThere(ctx context.Context, opts Options) (machine, error) {
	output, err := opts.Shell(ctx, fmt.Sprintf(lookScript, opts.QEMU, kvmDevice))
	if err != nil {
		return machine{}, fmt.Errorf("looking for %s there (apt-get install qemu-system-x86): %w", opts.QEMU, err)
	}
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	if len(lines) < 3 {
		return machine{}, fmt.Errorf("looking for %s there: the answer is %q", opts.QEMU, output)
	}
	lines = lines[len(lines)-3:] // what a login script prints comes first
	qemu, _, _ := strings.Cut(lines[1], " ")
	m := machine{run: farCanary{shell: opts.Shell, qemu: qemu}.run}
	switch lines[2] {
	case "works":
		m.state = KVMWorks
	case "absent":
		m.state, m.reason = KVMAbsent, "that machine has no "+kvmDevice
	default:
		m.state, m.reason = KVMNoAccess, kvmDevice+" exists there, but you may not open it: usually membership in the group kvm is missing"
	}
	m.key = fmt.Sprintf("%s %s %q %d", lines[0], lines[1], m.state, iterations)
	sum := sha256.Sum256([]byte(lines[0]))
	m.cache = "accelerator-" + hex.EncodeToString(sum[:4])
	return m, nil
}

// farCanary runs the boot sector in another machine's emulator.
type farCanary struct {
	shell func(ctx context.Context, script string) ([]byte, error)
	qemu  string
}

// farScript runs an emulator and prints how it ended and the nanoseconds that it took there: the way does not count. An
// emulator that hangs is ended by that machine, as the connection may not be there to do it.
const farScript = `dir=$(mktemp -d) || exit
trap 'rm -rf "$dir"' EXIT
printf '%s' >"$dir/canary.img" && truncate -s %d "$dir/canary.img" || exit
begin=$(date +%%s%%N)
timeout -s KILL %d %s >"$dir/says" 2>&1 </dev/null
code=$?
end=$(date +%%s%%N)
echo "canary $code $((end - begin)) $(head -c 400 "$dir/says" | tr '\n' ' ')"
`

func (c farCanary) run(ctx context.Context, accelerator hypervisor.Accelerator) (time.Duration, error) {
	limit := int(tcgDeadline.Seconds())
	if deadline, ok := ctx.Deadline(); ok {
		limit = int(time.Until(deadline).Seconds()) + 1
	}
	var code strings.Builder
	for _, b := range bootFloppy(iterations)[:bootSectorSize] {
		fmt.Fprintf(&code, `\%03o`, b)
	}
	// Quoted but for the directory, which the shell has to fill in.
	words := append([]string{c.qemu}, arguments(accelerator, `'"$dir/canary.img"'`)...)
	command := "'" + strings.Join(words, "' '") + "'"
	started := time.Now()
	output, err := c.shell(ctx, fmt.Sprintf(farScript, code.String(), floppySize, limit, command))
	if ctx.Err() != nil {
		return time.Since(started), context.Cause(ctx)
	}
	if err != nil {
		return time.Since(started), err
	}
	return parseFar(string(output))
}

// parseFar reads what [farScript] prints last.
func parseFar(output string) (time.Duration, error) {
	_, line, found := strings.Cut("\n"+output, "\ncanary ")
	fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
	if !found || len(fields) < 2 {
		return 0, fmt.Errorf("the canary's machine answers %q", output)
	}
	nanoseconds, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the canary's machine answers %q: %w", output, err)
	}
	took := time.Duration(nanoseconds)
	said := strings.TrimSpace(strings.Join(fields[2:], ""))
	const killed = 128 + 9
	switch {
	case fields[0] == strconv.Itoa(exitCode) && said == strings.TrimSpace(greeting):
		return took, nil
	case fields[0] == strconv.Itoa(killed):
		return took, errDeadline
	default:
		return took, errors.New("it ended without the canary's answer: " + said)
	}
}
