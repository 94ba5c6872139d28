package hostboot_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/patchlab/patchlab/harness/hostboot"
)

func TestAnAnswerIsForItsKeyOnly(t *testing.T) {
	t.Parallel()
	kept := hostboot.Answer[int]{Dir: filepath.Join(t.TempDir(), "made", "on", "demand"), Name: "answer", Key: "one boot"}
	if _, found := kept.Read(); found {
		t.Error("nothing answers")
	}
	if err := kept.Write(42); err != nil {
		t.Fatal(err)
	}
	if got, found := kept.Read(); !found || got != 42 {
		t.Errorf("the answer is %d, %t", got, found)
	}
	other := kept
	other.Key = "another boot"
	if _, found := other.Read(); found {
		t.Error("it answers for another boot")
	}
	older := []byte(`{"key": "one boot", "report": 42}`)
	if err := os.WriteFile(filepath.Join(kept.Dir, "answer.json"), older, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, found := kept.Read(); found {
		t.Errorf("a file of an older patchlab answers %d", got)
	}
	if err := os.WriteFile(filepath.Join(kept.Dir, "answer.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, found := kept.Read(); found {
		t.Error("a broken file answers")
	}
	entries, err := os.ReadDir(kept.Dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("there are %v, want one file (%v)", entries, err)
	}
	kept.Forget()
	if entries, err := os.ReadDir(kept.Dir); err != nil || len(entries) != 0 {
		t.Errorf("there are %v, want none (%v)", entries, err)
	}
}

func TestWithoutADirectoryNothingIsKept(t *testing.T) {
	t.Parallel()
	kept := hostboot.Answer[int]{Name: "answer"}
	if err := kept.Write(42); err != nil {
		t.Fatal(err)
	}
	if _, found := kept.Read(); found {
		t.Error("it answers")
	}
}

func TestTheBootHasAName(t *testing.T) {
	t.Parallel()
	if id, err := hostboot.ID(); err != nil || len(id) != 36 {
		t.Errorf("this boot is %q, %v", id, err)
	}
}
