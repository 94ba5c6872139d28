package hypervisor_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

func TestATextIsTypedOnAnAmericanKeyboard(t *testing.T) {
	// The numbers are those of input-event-codes.h.
	want := [][]hypervisor.Key{{38}, {23}, {49}, {22}, {45}, {57}, {53}, {48}, {24}, {24}, {20}, {42, 12}, {42, 30}, {13}, {42, 43}, {43}, {40}, {3}}
	got, err := hypervisor.KeysFor(`linux /boot_A=|\'2`)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v; keys (-want +got):\n%s", err, diff)
	}
	if keys, err := hypervisor.KeysFor("é"); err == nil {
		t.Errorf("a letter of another keyboard is typed as %v", keys)
	}
}
