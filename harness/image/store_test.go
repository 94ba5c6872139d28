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

func TestOpenFindsWhatWasAdded(t *testing.T) {
	t.Parallel()
	store, want := storeWith(t, "web", "content of the disk", time.Unix(1700000000, 0))
	got, err := Open(t.Context(), store, "web")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	newer := addImage(t, store, "web", "a newer disk", time.Unix(1800000000, 0))
	if got, err = Open(t.Context(), store, "web"); err != nil || got.Digest != newer.Digest {
		t.Errorf("opened %s, error %v, want the newest, %s", got.Digest, err, newer.Digest)
	}
	all, err := store.List()
	if err != nil || len(all) != 2 || all[0].Digest != newer.Digest {
		t.Errorf("list %v, error %v, want both, the newest first", all, err)
	}
}

func TestOpenWithoutAnImageNamesTheRemedy(t *testing.T) {
	t.Parallel()
	store := &Store{Dir: filepath.Join(t.TempDir(), "not", "there")}
	_, err := Open(t.Context(), store, "web")
	if !errors.Is(err, ErrNotBuilt) || !strings.Contains(err.Error(), "patchlab image build web") {
		t.Errorf("error %v, want ErrNotBuilt with the remedy", err)
	}
	for _, name := range []string{"", ".build", "../web", "a/b", "/etc"} {
		if _, err := store.Find(name); err == nil {
			t.Errorf("%q is taken as a name", name)
		}
	}
}

func TestOpenRefusesADamagedImage(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, image Image){
		"truncated": func(t *testing.T, image Image) {
			t.Helper()
			check(t, os.Truncate(image.Disk, 3))
		},
		"a flipped bit, under the old time stamp": func(t *testing.T, image Image) {
			t.Helper()
			info, err := os.Stat(image.Disk)
			check(t, err)
			content, err := os.ReadFile(image.Disk)
			check(t, err)
			content[5] ^= 1
			check(t, os.WriteFile(image.Disk, content, 0o644))
			check(t, os.Chtimes(image.Disk, info.ModTime(), info.ModTime()))
		},
		"replaced by another of the same size": func(t *testing.T, image Image) {
			t.Helper()
			check(t, os.WriteFile(image.Disk+".new", []byte("CONTENT of the disk"), 0o644))
			check(t, os.Rename(image.Disk+".new", image.Disk))
		},
		"disk missing": func(t *testing.T, image Image) {
			t.Helper()
			check(t, os.Remove(image.Disk))
		},
		"record not readable": func(t *testing.T, image Image) {
			t.Helper()
			check(t, os.WriteFile(filepath.Join(filepath.Dir(image.Disk), recordFile), []byte("{"), 0o644))
		},
		"record of another image": func(t *testing.T, image Image) {
			t.Helper()
			path := filepath.Join(filepath.Dir(image.Disk), recordFile)
			text, err := os.ReadFile(path)
			check(t, err)
			check(t, os.WriteFile(path, []byte(strings.Replace(string(text), image.DiskSHA256, strings.Repeat("0", 64), 1)), 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, image := storeWith(t, "web", "content of the disk", time.Unix(1700000000, 0))
			if _, err := Open(t.Context(), store, "web"); err != nil {
				t.Fatal(err) // it is fine, and remembered as checked
			}
			damage(t, image)
			_, err := Open(t.Context(), store, "web")
			if _, ok := errors.AsType[*DamagedError](err); !ok || !strings.Contains(err.Error(), "--rebuild") {
				t.Errorf("error %v, want a DamagedError with the remedy", err)
			}
		})
	}
}

func TestCheckHashesOnlyWhatWasTouched(t *testing.T) {
	t.Parallel()
	store, image := storeWith(t, "web", "content of the disk", time.Unix(1700000000, 0))
	check(t, store.Check(t.Context(), image))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := store.Check(ended, image); err != nil {
		t.Errorf("an untouched disk is read again: %v", err)
	}
	now := time.Now()
	check(t, os.Chtimes(image.Disk, now, now))
	if err := store.Check(ended, image); !errors.Is(err, context.Canceled) {
		t.Errorf("a touched disk is not read: error %v", err)
	}
	check(t, store.Check(t.Context(), image))
}

func TestRemoveRefusesAnImageInUse(t *testing.T) {
	t.Parallel()
	store, image := storeWith(t, "web", "content of the disk", time.Unix(1700000000, 0))
	release, err := store.Hold(image)
	check(t, err)
	if removed, err := store.Remove("web", ""); !errors.Is(err, ErrInUse) || len(removed) != 0 {
		t.Errorf("removed %v, error %v, want ErrInUse", removed, err)
	}
	if _, err := Open(t.Context(), store, "web"); err != nil {
		t.Errorf("the refused removal did harm: %v", err)
	}
	check(t, release())
	if removed, err := store.Remove("web", ""); err != nil || !cmp.Equal(removed, []string{image.Digest}) {
		t.Errorf("removed %v, error %v, want the image", removed, err)
	}
	if entries, err := os.ReadDir(store.Dir); err != nil || len(entries) != 1 || entries[0].Name() != buildsDir {
		t.Errorf("left in the store: %v, error %v", entries, err)
	}
	_, err = store.Remove("web", "") // gone already
	check(t, err)
}

func TestRemoveRefusesAnImageAsLongAsTheFileIsThereThatItIsHeldFor(t *testing.T) {
	t.Parallel()
	store, image := storeWith(t, "web", "content of the disk", time.Unix(1700000000, 0))
	kept := filepath.Join(t.TempDir(), "kept.json")
	check(t, os.WriteFile(kept, nil, 0o600))
	check(t, image.HoldWhile(kept))
	check(t, image.HoldWhile(kept)) // as often as one likes
	if removed, err := store.Remove("web", ""); !errors.Is(err, ErrInUse) || len(removed) != 0 {
		t.Errorf("removed %v, error %v, want ErrInUse", removed, err)
	}
	if _, err := Open(t.Context(), store, "web"); err != nil {
		t.Errorf("the refused removal did harm: %v", err)
	}
	check(t, os.Remove(kept))
	if removed, err := store.Remove("web", ""); err != nil || !cmp.Equal(removed, []string{image.Digest}) {
		t.Errorf("removed %v, error %v, want the image", removed, err)
	}
}

func TestADamagedRecordHidesNoOtherImageAndCanBeRemoved(t *testing.T) {
	t.Parallel()
	store, broken := storeWith(t, "web", "content of the disk", time.Unix(1700000000, 0))
	mail := addImage(t, store, "mail", "another disk", time.Unix(1700000000, 0))
	check(t, os.WriteFile(filepath.Join(filepath.Dir(broken.Disk), recordFile), []byte("{"), 0o644))
	all, err := store.List()
	if _, ok := errors.AsType[*DamagedError](err); !ok || len(all) != 1 || all[0].Digest != mail.Digest {
		t.Errorf("list %v, error %v, want the good image and a DamagedError", all, err)
	}
	if removed, err := store.Remove("web", ""); err != nil || len(removed) != 1 {
		t.Errorf("removed %v, error %v", removed, err)
	}
	if _, err := store.List(); err != nil {
		t.Error(err)
	}
}

func TestWorkshopRemovesADeadBuild(t *testing.T) {
	t.Parallel()
	store := &Store{Dir: t.TempDir()}
	dead, err := openTestWorkshop(t, store, nil)
	check(t, err)
	check(t, os.WriteFile(dead.file(diskFile), []byte("half"), 0o600))
	check(t, os.Mkdir(dead.file(filepath.Join(scratchDir, "root")), 0o700))
	// kill -9: the locks go, the files stay.
	check(t, dead.run.Close())
	check(t, dead.lock.Close())

	cleared := false
	w, err := openTestWorkshop(t, store, func(context.Context) error {
		_, err := os.Stat(dead.file(diskFile))
		cleared = err == nil
		return nil
	})
	check(t, err)
	if !cleared {
		t.Error("the dead build's domain must go before its disk")
	}
	for _, path := range []string{w.file(diskFile), dead.file(filepath.Join(scratchDir, "root"))} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", path)
		}
	}
	check(t, w.close(t.Context()))
	if images, err := store.List(); err != nil || len(images) != 0 {
		t.Errorf("the store lists %v, error %v", images, err)
	}
}

func TestSweepLeavesALiveBuildAlone(t *testing.T) {
	t.Parallel()
	store := &Store{Dir: t.TempDir()}
	w, err := openTestWorkshop(t, store, nil)
	check(t, err)
	if swept, err := store.Sweep(t.Context()); err != nil || len(swept) != 0 {
		t.Errorf("swept %v, error %v, while the build lives", swept, err)
	}
	check(t, w.run.Close())
	check(t, w.lock.Close())
	if swept, err := store.Sweep(t.Context()); err != nil || len(swept) != 1 {
		t.Errorf("swept %v, error %v, want the dead build", swept, err)
	}
	if _, err := os.Stat(w.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there", w.path)
	}
}

func TestASecondBuildWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	store := &Store{Dir: t.TempDir()}
	first, err := openTestWorkshop(t, store, nil)
	check(t, err)
	waiting := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		second, err := store.openWorkshop(t.Context(), workshopOrder{
			name: "web", waiting: func() { close(waiting) }, clear: func(context.Context) error { return nil },
		})
		if err == nil {
			err = second.close(t.Context())
		}
		done <- err
	}()
	<-waiting
	if _, err := os.Stat(first.file(scratchDir)); err != nil {
		t.Errorf("the second build touched the first: %v", err)
	}
	check(t, first.close(t.Context()))
	check(t, <-done)
}

func TestWaitingForABuildEndsWithTheContext(t *testing.T) {
	t.Parallel()
	store := &Store{Dir: t.TempDir()}
	first, err := openTestWorkshop(t, store, nil)
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = store.openWorkshop(ctx, workshopOrder{
		name: "web", waiting: cancel, clear: func(context.Context) error { return nil },
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
	check(t, first.close(t.Context()))
}

func openTestWorkshop(t *testing.T, store *Store, clear func(context.Context) error) (*workshop, error) {
	t.Helper()
	if clear == nil {
		clear = func(context.Context) error { return nil }
	}
	return store.openWorkshop(t.Context(), workshopOrder{name: "web", waiting: func() { t.Error("waits") }, clear: clear})
}

// storeWith returns a store with one image whose disk holds the given text.
func storeWith(t *testing.T, name, disk string, built time.Time) (*Store, Image) {
	t.Helper()
	store := &Store{Dir: t.TempDir()}
	return store, addImage(t, store, name, disk, built)
}

func addImage(t *testing.T, store *Store, name, disk string, built time.Time) Image {
	t.Helper()
	w := filepath.Join(store.Dir, buildsDir, "test")
	check(t, os.MkdirAll(w, 0o755))
	path := filepath.Join(w, diskFile)
	check(t, os.WriteFile(path, []byte(disk), 0o644))
	sum, err := hashFile(t.Context(), path)
	check(t, err)
	image := Image{
		Schema: schema, Name: name, Recipe: "recipe", DiskSHA256: sum, DiskSize: int64(len(disk)),
		HostKey: "ssh-ed25519 AAAA", Built: built.UTC(),
	}
	image.Digest = image.digest()
	image.Disk = filepath.Join(store.Dir, name, image.Digest, diskFile)
	check(t, store.add(image, path))
	check(t, os.RemoveAll(w))
	return image
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
