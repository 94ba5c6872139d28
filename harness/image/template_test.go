package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// templateOf makes a template of a base under some conditions, and counts.
func templateOf(base Image, made Conditions, times *int) Derivation {
	d := Derivation{
		Base: base, Content: made.Hypervisor, Template: &Template{Made: made, AuthorizedKey: "ssh-ed25519 AAAA"},
		Now: func() time.Time { return time.Unix(1800000000, int64(*times)) }, Waiting: func() {},
	}
	d.Make = func(_ context.Context, disk string) error {
		*times++
		files := SavedBeside(disk)
		return errors.Join(os.WriteFile(disk, []byte("overlay"), 0o600), os.WriteFile(files.Memory, []byte("RAM"), 0o600),
			os.WriteFile(files.State, []byte("devices"), 0o600), os.WriteFile(files.Key, []byte("a key"), 0o600),
			os.WriteFile(files.Files, []byte("known"), 0o600))
	}
	return d
}

func TestATemplateHasWhatAGuestGoesOnFrom(t *testing.T) {
	t.Parallel()
	_, base := storeWith(t, "web", "disk", time.Unix(1700000000, 0))
	store, made := &Store{Dir: filepath.Join(t.TempDir(), "templates")}, 0
	d := templateOf(base, Conditions{Hypervisor: "QEMU 7.2.22", Probe: "p"}, &made)
	first := derive(t, store, d)
	again := derive(t, store, d)
	if made != 1 || again.Digest != first.Digest {
		t.Errorf("made %d times", made)
	}
	for path, want := range map[string]string{again.Saved().Memory: "RAM", again.Saved().State: "devices"} {
		if content, err := os.ReadFile(path); err != nil || string(content) != want {
			t.Errorf("%s has %q, %v", path, content, err)
		}
	}
	if key, err := again.PrivateKey(); err != nil || string(key) != "a key" {
		t.Errorf("the key is %q, %v", key, err)
	}
	if base.Saved().State != "" {
		t.Error("an image that is off has a saved guest")
	}
}

func TestATemplateWithAnotherMemoryIsDamaged(t *testing.T) {
	t.Parallel()
	_, base := storeWith(t, "web", "disk", time.Unix(1700000000, 0))
	store, made := &Store{Dir: filepath.Join(t.TempDir(), "templates")}, 0
	d := templateOf(base, Conditions{Hypervisor: "QEMU 7.2.22", Probe: "p"}, &made)
	template := derive(t, store, d)
	check(t, os.WriteFile(template.Saved().Memory, []byte("RBM"), 0o600))
	if _, found, err := store.Derived(t.Context(), d); found || err != nil {
		t.Errorf("the damaged one is used: %v, %v", found, err)
	}
	if derive(t, store, d); made != 2 {
		t.Errorf("made %d times, want 2", made)
	}
}

func TestATemplateUnderOtherConditionsGivesWay(t *testing.T) {
	t.Parallel()
	_, base := storeWith(t, "web", "disk", time.Unix(1700000000, 0))
	store, made := &Store{Dir: filepath.Join(t.TempDir(), "templates")}, 0
	before, after := Conditions{Hypervisor: "QEMU 7.2.22", MemoryMiB: 768, Probe: "p"}, Conditions{Hypervisor: "QEMU 10.0.0", MemoryMiB: 768, Probe: "p"}
	old := derive(t, store, templateOf(base, before, &made))
	if _, there := store.Superseded(base, before); there {
		t.Error("a template supersedes itself")
	}
	found, there := store.Superseded(base, after)
	if !there || found.Digest != old.Digest {
		t.Fatalf("the old one is not found: %v", there)
	}
	if got, want := after.Differs(found.Template.Made), "the hypervisor is QEMU 10.0.0, was QEMU 7.2.22"; got != want {
		t.Errorf("the reason is %q, want %q", got, want)
	}
	other := withDigest(base, strings.Repeat("e", 64))
	derive(t, store, templateOf(other, before, &made))
	derive(t, store, templateOf(base, after, &made))

	release, err := store.Hold(old)
	check(t, err)
	check(t, store.RemoveSuperseded(base, after))
	if _, there := store.Superseded(base, after); !there {
		t.Error("it was removed while a run stood on it")
	}
	check(t, release())
	check(t, store.RemoveSuperseded(base, after))
	if left, err := store.List(); err != nil || len(left) != 2 {
		t.Errorf("%d templates are left, %v; want the new one and the other image's", len(left), err)
	}
}
