package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestARoomIsEmptyAndForOneBenchAlone(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	left := filepath.Join(cache, "bench-image", "NAME", "disk")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, leave, err := benchRoom(cache, "image")
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the room has %v, %v", entries, err)
	}
	if _, _, err := benchRoom(cache, "image"); !errors.Is(err, errRoomTaken) {
		t.Errorf("a second bench: %v", err)
	}
	if removed, err := sweepRooms(cache); err != nil || len(removed) > 0 {
		t.Errorf("gc took %v from a live bench, %v", removed, err)
	}
	if err := leave(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the room is left: %v", err)
	}
}

func TestTheRoomOfAKilledBenchIsSwept(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	dead, other := filepath.Join(cache, "bench-autopkgtest"), filepath.Join(cache, "templates")
	for _, dir := range []string{filepath.Join(dead, "x"), other} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := sweepRooms(cache)
	if err != nil || !slices.Equal(removed, []string{dead}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}
