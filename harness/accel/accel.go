// Package accel measures which accelerator executes a guest's instructions faster on this host.
//
// It never decides by the existence of /dev/kvm: on some nested hosts the device exists, opens and makes machines, yet a
// guest runs about a hundred times slower than under emulation. So a canary runs under both, and the faster one wins.
package accel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/patchlab/patchlab/harness/hostboot"
	"github.com/patchlab/patchlab/harness/hypervisor"
)

// KVMState says what became of KVM.
type KVMState string

// The states of KVM.
const (
	KVMAbsent   KVMState = "absent"    // the host has no /dev/kvm
	KVMNoAccess KVMState = "no access" // it has one that we may not open
	KVMWorks    KVMState = "works"     // the canary was faster than under emulation
	KVMTooSlow  KVMState = "too slow"  // the canary was slower, or not finished at its deadline
	KVMFailed   KVMState = "failed"    // QEMU could not use it
)

// Report is what was measured.
type Report struct {
	Best     hypervisor.Accelerator `json:"best"`
	TCG      time.Duration          `json:"tcg_ns"`           // the canary under emulation
	KVM      time.Duration          `json:"kvm_ns,omitempty"` // the canary under KVM; its deadline when it is too slow
	KVMState KVMState               `json:"kvm_state"`
	Reason   string                 `json:"reason"` // why Best is best, in a sentence
	// Slowness is how many times longer a guest needs than under KVM; 1 when KVM is used. See [slowness].
	Slowness float64 `json:"slowness"`
	Cached   bool    `json:"-"` // the answer was measured earlier in this boot of the host
}

// Options of a measurement.
type Options struct {
	QEMU     string // path of the emulator; default qemu-system-x86_64 from PATH
	CacheDir string // where the answer is kept for this boot of the host; empty keeps nothing
	Fresh    bool   // measure even when there is an answer
	// Shell runs a script with sh on the machine that QEMU runs on, and returns what it prints; nil where that is this host.
	Shell func(ctx context.Context, script string) ([]byte, error)
}

// WithoutKVM is the report for a place where KVM may not be used, whatever was measured.
func (r Report) WithoutKVM(reason string) Report {
	if r.Best == hypervisor.KVM {
		r.Best, r.KVMState, r.Reason, r.Slowness = hypervisor.TCG, KVMNoAccess, reason, slowness(r.TCG)
	}
	return r
}

// The figures behind the choice, all from a 2-core host without KVM (QEMU 7.2).
const (
	// The canary took 0.37 to 0.45 s there, QEMU's own start included.
	referenceTCG = 400 * time.Millisecond
	// A lean Debian 12 needs 40 s from power on to ssh there, and 5 to 10 s under KVM on machines of its kind.
	referenceSlowness = 6
	// However fast the canary's loop runs, emulation has been at least 4 times slower on a whole guest; above 24 the
	// measurement rather saw a busy moment.
	leastSlowness, mostSlowness = 4, 24

	// A working KVM needs well under a second for the canary, even nested. Three times emulation's time decides nothing
	// any more, and the least deadline covers QEMU's start on a busy host.
	leastKVMDeadline, mostKVMDeadline = 2 * time.Second, 8 * time.Second
	// Emulation that needs more than this for half a second of work is no lab.
	tcgDeadline = time.Minute
)

const kvmDevice = "/dev/kvm"

// Measure runs the canary, or returns the answer from the cache if it is for the same boot of the host, the same
// emulator and the same access to KVM.
func Measure(ctx context.Context, opts Options) (Report, error) {
	if opts.QEMU == "" {
		opts.QEMU = "qemu-system-x86_64"
	}
	there, err := look(ctx, opts)
	if err != nil {
		return Report{}, err
	}
	cache := hostboot.Answer[Report]{Dir: opts.CacheDir, Name: there.cache, Key: there.key}
	if !opts.Fresh {
		if report, ok := cache.Read(); ok {
			report.Cached = true
			return report, nil
		}
	}
	report, err := measure(ctx, there.run, there.state, there.reason)
	if err != nil {
		return Report{}, err
	}
	if err := cache.Write(report); err != nil {
		return Report{}, err
	}
	return report, nil
}

// machine is where the canary runs.
type machine struct {
	run    runner
	state  KVMState // [KVMWorks] means only that the device opens
	reason string
	cache  string // name of the file for the answer
	key    string // everything that the answer depends on
}

func look(ctx context.Context, opts Options) (machine, error) {
	if opts.Shell != nil {
		return lookThere(ctx, opts)
	}
	qemu, err := exec.LookPath(opts.QEMU)
	if errors.Is(err, exec.ErrNotFound) {
		return machine{}, fmt.Errorf("%s is not installed: apt-get install qemu-system-x86", opts.QEMU)
	}
	if err != nil {
		return machine{}, fmt.Errorf("looking for the emulator: %w", err)
	}
	m := machine{run: canary{qemu: qemu}.run, cache: "accelerator"}
	m.state, m.reason = probeDevice(kvmDevice)
	m.key, err = cacheKey(qemu, m.state)
	return m, err
}

// runner runs the canary under one accelerator and tells how long it took.
type runner func(ctx context.Context, accelerator hypervisor.Accelerator) (time.Duration, error)

// errDeadline is the cause of a canary's end that did not finish in time.
var errDeadline = errors.New("not finished at its deadline")

func measure(ctx context.Context, run runner, state KVMState, reason string) (Report, error) {
	within := func(limit time.Duration, accelerator hypervisor.Accelerator) (time.Duration, error) {
		limited, cancel := context.WithTimeoutCause(ctx, limit, errDeadline)
		defer cancel()
		return run(limited, accelerator)
	}
	tcg, err := within(tcgDeadline, hypervisor.TCG)
	if err != nil {
		return Report{}, fmt.Errorf("running the canary under emulation: %w", err)
	}
	report := Report{Best: hypervisor.TCG, TCG: tcg, KVMState: state, Reason: reason, Slowness: slowness(tcg)}
	if state != KVMWorks {
		return report, nil
	}

	deadline := min(max(3*tcg, leastKVMDeadline), mostKVMDeadline)
	report.KVM, err = within(deadline, hypervisor.KVM)
	switch {
	case ctx.Err() != nil:
		return Report{}, fmt.Errorf("running the canary under KVM: %w", context.Cause(ctx))
	case errors.Is(err, errDeadline):
		report.KVM, report.KVMState = deadline, KVMTooSlow
		report.Reason = fmt.Sprintf("%s lies: the canary, %s under emulation, was not finished after %s under KVM",
			kvmDevice, seconds(tcg), seconds(deadline))
	case err != nil:
		report.KVM, report.KVMState = 0, KVMFailed
		report.Reason = fmt.Sprintf("QEMU cannot use %s: %v", kvmDevice, err)
	case report.KVM >= tcg:
		report.KVMState = KVMTooSlow
		report.Reason = fmt.Sprintf("KVM is slower than emulation here: %s against %s for the canary", seconds(report.KVM), seconds(tcg))
	default:
		report.Best, report.Slowness = hypervisor.KVM, 1
		report.Reason = fmt.Sprintf("the canary took %s under KVM, %s under emulation", seconds(report.KVM), seconds(tcg))
	}
	return report, nil
}

// slowness estimates how many times longer a guest needs under emulation, from how long the canary took: a host whose
// emulation is twice as slow as the reference gets twice as long.
func slowness(tcg time.Duration) float64 {
	factor := referenceSlowness * float64(tcg) / float64(referenceTCG)
	return min(max(factor, leastSlowness), mostSlowness)
}

// probeDevice tells whether it is worth trying KVM at all: KVMWorks means only that the device opens.
func probeDevice(path string) (KVMState, string) {
	file, err := os.OpenFile(filepath.Clean(path), os.O_RDWR, 0)
	switch {
	case err == nil:
		_ = file.Close() // nothing was written
		return KVMWorks, ""
	case errors.Is(err, os.ErrNotExist):
		return KVMAbsent, "the host has no " + path
	case errors.Is(err, os.ErrPermission):
		return KVMNoAccess, path + " exists, but you may not open it: usually membership in the group kvm is missing"
	default:
		return KVMFailed, fmt.Sprintf("%s does not open: %v", path, err)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
