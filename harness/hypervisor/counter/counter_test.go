package counter_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor/counter"
)

func TestWholeCountsAreRead(t *testing.T) {
	t.Parallel()
	five, six := counter.Count{Memory: 5, Disk: 5}, counter.Count{Memory: 0x1a6f, Disk: 6}
	for _, test := range []struct {
		name, console string
		want          []counter.Count
	}{
		{"nothing", "", nil},
		{"another guest", "Booting from Hard Disk...\n.....\n", nil},
		{"one", five.Line(), []counter.Count{five}},
		{"one after the firmware's words", "SeaBIOS" + five.Line(), []counter.Count{five}},
		{"several", five.Line() + six.Line(), []counter.Count{five, six}},
		{"one that is being told does not count", five.Line() + six.Line()[:9], []counter.Count{five}},
		{"letters that are no digits", "AAAQ AAAA \n", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, counter.Told(test.console)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestACountThatWasBeingToldIsNotOneSince(t *testing.T) {
	t.Parallel()
	five, six := counter.Count{Memory: 5, Disk: 5}, counter.Count{Memory: 6, Disk: 6}
	console := five.Line() + six.Line()
	for place, want := range map[int][]counter.Count{
		0: {five, six}, 1: {six}, len(five.Line()) - 1: {six}, len(five.Line()): {six}, len(five.Line()) + 1: nil, len(console): nil,
	} {
		if diff := cmp.Diff(want, counter.ToldSince(console, place)); diff != "" {
			t.Errorf("since %d: %s", place, diff)
		}
	}
}

func TestTheLowestIsTheFirstAfterARevert(t *testing.T) {
	t.Parallel()
	told := []counter.Count{{Memory: 7, Disk: 7}, {Memory: 8, Disk: 8}, {Memory: 3, Disk: 9}, {Memory: 4, Disk: 4}}
	if got := counter.Lowest(told); got != told[2] {
		t.Errorf("it is %v", got)
	}
}

func TestACountIsConsistentWhenMemoryAndDiskAgree(t *testing.T) {
	t.Parallel()
	if !(counter.Count{Memory: 7, Disk: 7}).Consistent() || (counter.Count{Memory: 7, Disk: 8}).Consistent() {
		t.Error("it does not compare memory with disk")
	}
}

func TestTheGuestIsBootable(t *testing.T) {
	t.Parallel()
	disk := counter.Disk()
	if disk[510] != 0x55 || disk[511] != 0xaa {
		t.Error("it has no mark of a boot sector")
	}
}
