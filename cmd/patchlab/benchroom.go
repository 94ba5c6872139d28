package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// roomPrefix begins the names of the directories below the cache directory in which benches keep disks while they measure.
const roomPrefix = "bench-"

// errRoomTaken means that another bench of the same kind is under way.
var errRoomTaken = errors.New("another one is under way")

// benchRoom returns an empty directory that a bench has for itself until leave is called. What a killed one left there is gone.
func benchRoom(cacheDir, name string) (dir string, leave func() error, err error) {
	dir = filepath.Join(cacheDir, roomPrefix+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("making room for the bench: %w", err)
	}
	release, err := takeRoom(dir)
	if err != nil {
		return "", nil, fmt.Errorf("making room for the bench: %w", err)
	}
	if err := emptyRoom(dir); err != nil {
		return "", nil, errors.Join(fmt.Errorf("making room for the bench: %w", err), release())
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), release()) }, nil
}

// takeRoom locks a room. The error wraps [errRoomTaken] if a live bench has it.
func takeRoom(dir string) (release func() error, err error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errRoomTaken
		}
		return nil, errors.Join(err, file.Close())
	}
	return file.Close, nil
}

func emptyRoom(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}

// sweepRooms removes the rooms of benches that were killed, and returns their paths.
func sweepRooms(cacheDir string) (removed []string, err error) {
	rooms, err := filepath.Glob(filepath.Join(cacheDir, roomPrefix+"*"))
	if err != nil {
		return nil, err
	}
	for _, room := range rooms {
		release, taking := takeRoom(room)
		if errors.Is(taking, errRoomTaken) {
			continue
		}
		if taking == nil {
			taking = errors.Join(os.RemoveAll(room), release())
		}
		if taking != nil {
			err = errors.Join(err, fmt.Errorf("removing what a bench has left: %w", taking))
			continue
		}
		removed = append(removed, room)
	}
	return removed, err
}
