package rundir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/rundir"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestALiveRunCannotBeLockedADeadOneCan(t *testing.T) {
	dir, err := rundir.Create(t.TempDir(), noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rundir.Lock(dir.Path); !errors.Is(err, rundir.ErrLocked) {
		t.Errorf("locking a live run: %v, want ErrLocked", err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := rundir.Lock(dir.Path)
	if err != nil {
		t.Fatalf("locking a dead run: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestARunThatIsGoneSaysSo(t *testing.T) {
	if _, err := rundir.Lock(filepath.Join(t.TempDir(), "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that it does not exist", err)
	}
}

func TestRunsOfOneSecondHaveTheirOwnDirectories(t *testing.T) {
	parent := t.TempDir()
	seen := map[string]bool{}
	for range 20 {
		dir, err := rundir.Create(parent, noon)
		if err != nil {
			t.Fatal(err)
		}
		seen[dir.ID] = true
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d ids for 20 runs", len(seen))
	}
}

func TestEvidenceIsThereWholeOrNotAtAll(t *testing.T) {
	dir, err := rundir.Create(t.TempDir(), noon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	if err := dir.Write(rundir.Result, []byte("first")); err != nil {
		t.Fatal(err)
	}
	// A directory in the way of the temporary file stands for a disk that refuses to write.
	if err := os.Mkdir(dir.File(rundir.Result+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := dir.Write(rundir.Result, []byte("second")); err == nil {
		t.Error("writing succeeded")
	}
	if content, err := os.ReadFile(dir.File(rundir.Result)); err != nil || string(content) != "first" {
		t.Errorf("the file holds %q, %v; want what was there before", content, err)
	}
}
