package accel

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

func TestTheFasterAcceleratorIsChosen(t *testing.T) {
	t.Parallel()
	const tcg = referenceTCG
	tests := map[string]struct {
		state KVMState
		kvm   time.Duration
		err   error
		want  Report
	}{
		"KVM that is faster": {
			state: KVMWorks, kvm: 50 * time.Millisecond,
			want: Report{Best: hypervisor.KVM, KVM: 50 * time.Millisecond, KVMState: KVMWorks, Slowness: 1},
		},
		"KVM that is slower": {
			state: KVMWorks, kvm: time.Second,
			want: Report{Best: hypervisor.TCG, KVM: time.Second, KVMState: KVMTooSlow, Slowness: 6},
		},
		"KVM that does not finish": {
			state: KVMWorks, err: errDeadline,
			want: Report{Best: hypervisor.TCG, KVM: leastKVMDeadline, KVMState: KVMTooSlow, Slowness: 6},
		},
		"KVM that QEMU cannot use": {
			state: KVMWorks, err: errors.New("no vmx"),
			want: Report{Best: hypervisor.TCG, KVMState: KVMFailed, Slowness: 6},
		},
		"no KVM is never tried": {
			state: KVMAbsent, kvm: time.Nanosecond,
			want: Report{Best: hypervisor.TCG, KVMState: KVMAbsent, Slowness: 6},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(_ context.Context, accelerator hypervisor.Accelerator) (time.Duration, error) {
				if accelerator == hypervisor.KVM {
					return test.kvm, test.err
				}
				return tcg, nil
			}
			got, err := measure(t.Context(), run, test.state, "because")
			if err != nil {
				t.Fatal(err)
			}
			if got.Reason == "" {
				t.Error("the report gives no reason")
			}
			got.Reason = ""
			test.want.TCG = tcg
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnInterruptedMeasurementIsNoAnswer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	run := func(_ context.Context, accelerator hypervisor.Accelerator) (time.Duration, error) {
		if accelerator == hypervisor.KVM {
			cancel()
			return 0, context.Canceled
		}
		return time.Second, nil
	}
	if _, err := measure(ctx, run, KVMWorks, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
}

func TestSlownessFollowsTheHostWithinBounds(t *testing.T) {
	t.Parallel()
	for tcg, want := range map[time.Duration]float64{
		100 * time.Millisecond: leastSlowness,
		referenceTCG:           referenceSlowness,
		2 * referenceTCG:       2 * referenceSlowness,
		time.Minute:            mostSlowness,
	} {
		if got := slowness(tcg); got != want {
			t.Errorf("slowness(%s) = %v, want %v", tcg, got, want)
		}
	}
}

func TestWithoutKVMEmulates(t *testing.T) {
	t.Parallel()
	fast := Report{Best: hypervisor.KVM, TCG: referenceTCG, KVM: time.Millisecond, KVMState: KVMWorks, Reason: "fast", Slowness: 1}
	want := Report{
		Best: hypervisor.TCG, TCG: referenceTCG, KVM: time.Millisecond, KVMState: KVMNoAccess, Reason: "not for nobody",
		Slowness: referenceSlowness,
	}
	if diff := cmp.Diff(want, fast.WithoutKVM("not for nobody")); diff != "" {
		t.Error(diff)
	}
	slow := Report{Best: hypervisor.TCG, KVMState: KVMAbsent, Reason: "none", Slowness: 6}
	if diff := cmp.Diff(slow, slow.WithoutKVM("not for nobody")); diff != "" {
		t.Error(diff)
	}
}

func TestTheDeviceDecidesOnlyWhetherToTry(t *testing.T) {
	t.Parallel()
	there := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if state, _ := probeDevice(there); state != KVMWorks {
		t.Errorf("a device that opens is %q", state)
	}
	if state, reason := probeDevice(there + "-not"); state != KVMAbsent || reason == "" {
		t.Errorf("a missing device is %q: %q", state, reason)
	}
}

func TestTheCanaryIsABootableFloppy(t *testing.T) {
	t.Parallel()
	disk := bootFloppy(iterations)
	if len(disk) != 1474560 {
		t.Errorf("it has %d bytes", len(disk))
	}
	if disk[510] != 0x55 || disk[511] != 0xaa {
		t.Error("it has no mark of a boot sector")
	}
}
