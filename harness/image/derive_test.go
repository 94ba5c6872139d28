package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// derivation makes a derived image of a base, and counts.
func derivation(base Image, content string, made *int) Derivation {
	return Derivation{
		Base: base, Content: content, Now: func() time.Time { return time.Unix(1800000000, 0) }, Waiting: func() {},
		Make: func(_ context.Context, disk string) error {
			*made++
			return os.WriteFile(disk, []byte("overlay with "+content), 0o600)
		},
	}
}

func derive(t *testing.T, store *Store, d Derivation) Image {
	t.Helper()
	derived, err := store.Derive(t.Context(), d)
	check(t, err)
	return derived
}

func TestADerivedImageIsMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	_, base := storeWith(t, "web", "disk", time.Unix(1700000000, 0))
	store, made := &Store{Dir: filepath.Join(t.TempDir(), "given")}, 0
	d := derivation(base, "older nginx", &made)
	if _, found, err := store.Derived(t.Context(), d); found || err != nil {
		t.Fatalf("an empty store has it: %v, %v", found, err)
	}
	first := derive(t, store, d)
	if again := derive(t, store, d); made != 1 || cmp.Diff(first.Digest, again.Digest) != "" {
		t.Errorf("made %d times", made)
	}
	found, ok, err := store.Derived(t.Context(), d)
	if diff := cmp.Diff(first, found); !ok || err != nil || diff != "" {
		t.Errorf("found %v, error %v (-made +found):\n%s", ok, err, diff)
	}
	if first.Base != base.Digest || first.Name != "web" || first.MAC != base.MAC || first.Digest == base.Digest {
		t.Errorf("derived image is %+v", first)
	}
	if info, err := os.Stat(first.Disk); err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("its disk is %v, %v, want read-only", info, err)
	}
	for what, other := range map[string]Derivation{
		"another state":                derivation(base, "older openssl", &made),
		"another base":                 derivation(withDigest(base, "other"), "older nginx", &made),
		"the base at another location": derivation(withDisk(base, "/elsewhere/disk.qcow2"), "older nginx", &made),
	} {
		if _, found, err := store.Derived(t.Context(), other); found || err != nil {
			t.Errorf("%s is taken for it: %v, %v", what, found, err)
		}
	}
}

func withDigest(i Image, digest string) Image { i.Digest = digest; return i }

func withDisk(i Image, disk string) Image { i.Disk = disk; return i }

func TestAHalfMadeDerivedImageIsNeverFound(t *testing.T) {
	t.Parallel()
	_, base := storeWith(t, "web", "disk", time.Unix(1700000000, 0))
	store, made := &Store{Dir: filepath.Join(t.TempDir(), "given")}, 0
	d := derivation(base, "state", &made)
	broken := errors.New("the guest did not come up")
	d.Make = func(_ context.Context, disk string) error {
		return errors.Join(broken, os.WriteFile(disk+".overlay", []byte("half"), 0o600))
	}
	if _, err := store.Derive(t.Context(), d); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	if _, found, err := store.Derived(t.Context(), d); found || err != nil {
		t.Errorf("it is there: %v, %v", found, err)
	}
	left, err := filepath.Glob(filepath.Join(store.Dir, ".build", "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestADamagedDerivedImageIsMadeAnew(t *testing.T) {
	t.Parallel()
	_, base := storeWith(t, "web", "disk", time.Unix(1700000000, 0))
	store, made := &Store{Dir: filepath.Join(t.TempDir(), "given")}, 0
	d := derivation(base, "state", &made)
	check(t, os.WriteFile(derive(t, store, d).Disk+".new", []byte("OVERLAY with state"), 0o600))
	disk := derive(t, store, d).Disk
	check(t, os.Rename(disk+".new", disk))
	if _, found, err := store.Derived(t.Context(), d); found || err != nil {
		t.Fatalf("the damaged one is used: %v, %v", found, err)
	}
	if derive(t, store, d); made != 2 {
		t.Errorf("made %d times, want 2", made)
	}
}

func TestSweepTakesDerivedImagesWithoutABase(t *testing.T) {
	t.Parallel()
	bases, base := storeWith(t, "web", "disk", time.Unix(1700000000, 0))
	store, made := &Store{Dir: filepath.Join(t.TempDir(), "given")}, 0
	derived := derive(t, store, derivation(base, "state", &made))
	if swept, err := store.SweepDerived(t.Context(), bases); err != nil || len(swept) != 0 {
		t.Fatalf("swept %v, error %v, though the base is there", swept, err)
	}
	if _, err := bases.Remove("web", ""); err != nil {
		t.Fatal(err)
	}
	release, err := store.Hold(derived)
	check(t, err)
	if swept, err := store.SweepDerived(t.Context(), bases); err != nil || len(swept) != 0 {
		t.Errorf("swept %v, error %v, though a run stands on it", swept, err)
	}
	check(t, release())
	swept, err := store.SweepDerived(t.Context(), bases)
	if err != nil || len(swept) != 1 || !strings.HasPrefix(swept[0], "web/") {
		t.Errorf("swept %v, error %v", swept, err)
	}
	if _, err := os.Stat(derived.Disk); !os.IsNotExist(err) {
		t.Errorf("its disk is still there: %v", err)
	}
}
