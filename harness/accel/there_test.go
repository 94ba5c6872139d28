package accel

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

func TestTheOtherMachinesAnswerIsRead(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]time.Duration{
		"canary 33 412000000 OK \n":          412 * time.Millisecond,
		"welcome!\ncanary 33 412000000 OK\n": 412 * time.Millisecond,
		"canary 33 412000000 no such file\n": 0,
		"canary 1 5 could not open kvm\n":    0,
		"canary 137 8000000000 \n":           0,
		"canary 33\n":                        0,
		"canary x y\n":                       0,
		"":                                   0,
	} {
		got, err := parseFar(output)
		if (err == nil) != (want != 0) || err == nil && got != want {
			t.Errorf("%q: %s (%v), want %s", output, got, err, want)
		}
		if late := strings.Contains(output, "137"); late != errors.Is(err, errDeadline) {
			t.Errorf("%q: %v", output, err)
		}
	}
}

// TestTheOtherMachinesEmulatorIsMeasured has a shell of this host for the other machine's, and a program that only
// answers for its emulator.
func TestTheOtherMachinesEmulatorIsMeasured(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	qemu := writeProgram(t, dir, `#!/bin/sh
case "$*" in *"-accel tcg"*) printf 'OK\n'; exit 33;; esac
echo no kvm; exit 1
`)
	measured, err := Measure(t.Context(), Options{QEMU: qemu, CacheDir: dir, Shell: shell})
	if err != nil {
		t.Fatal(err)
	}
	if measured.Best != hypervisor.TCG || measured.TCG <= 0 || measured.Cached {
		t.Errorf("measured %+v", measured)
	}
	again, err := Measure(t.Context(), Options{QEMU: qemu, CacheDir: dir, Shell: shell})
	if err != nil || !again.Cached || again.TCG != measured.TCG {
		t.Errorf("the second time: %+v (%v)", again, err)
	}
	if _, err := Measure(t.Context(), Options{QEMU: qemu + "-not", Shell: shell}); err == nil {
		t.Error("a machine without an emulator is measured")
	}
}

func writeProgram(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "qemu")
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func shell(ctx context.Context, script string) ([]byte, error) {
	command := exec.CommandContext(ctx, "sh", "-s")
	command.Stdin = strings.NewReader(script)
	return command.Output()
}
