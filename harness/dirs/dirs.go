// Package dirs says where patchlab keeps things on the host: images, runs, caches and sockets.
//
// For root these are system directories, which the user that QEMU runs as must be able to pass through; for everybody
// else the XDG directories. PATCHLAB_IMAGES_DIR, PATCHLAB_RUNS_DIR, PATCHLAB_CACHE_DIR and PATCHLAB_RUNTIME_DIR go first.
package dirs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// MaxRuntime bounds the path of the runtime directory, in bytes: a unix socket's path ends at 107, and what the private
// libvirt adds for a guest agent's takes 84. /run/user/1000/patchlab fits.
const MaxRuntime = 23

// Dirs are absolute paths. Nothing is made until [Dirs.Make].
type Dirs struct {
	Images  string // verified images and templates
	Runs    string // one directory per run: the evidence
	Cache   string // may be deleted at any time
	Runtime string // sockets; gone after a reboot of the host

	uid int
}

// Find chooses the directories for the user that runs this process. getenv is os.Getenv outside tests.
func Find(getenv func(string) string) (Dirs, error) { return find(getenv, os.Getuid()) }

func find(getenv func(string) string, uid int) (Dirs, error) {
	d := Dirs{uid: uid}
	for _, one := range []struct {
		to                       *string
		override, xdg            string
		belowHome, sub, asSystem string
	}{
		{&d.Images, "PATCHLAB_IMAGES_DIR", "XDG_DATA_HOME", ".local/share", "images", "/var/lib/patchlab/images"},
		{&d.Runs, "PATCHLAB_RUNS_DIR", "XDG_STATE_HOME", ".local/state", "runs", "/var/lib/patchlab/runs"},
		{&d.Cache, "PATCHLAB_CACHE_DIR", "XDG_CACHE_HOME", ".cache", "", "/var/cache/patchlab"},
	} {
		base := getenv(one.xdg)
		switch {
		case getenv(one.override) != "":
			absolute, err := filepath.Abs(getenv(one.override))
			if err != nil {
				return Dirs{}, fmt.Errorf("reading %s: %w", one.override, err)
			}
			*one.to = absolute
			continue
		case filepath.IsAbs(base): // the XDG specification says to ignore relative ones
		case uid == 0:
			*one.to = one.asSystem
			continue
		case filepath.IsAbs(getenv("HOME")):
			base = filepath.Join(getenv("HOME"), one.belowHome)
		default:
			return Dirs{}, fmt.Errorf("choosing a directory: HOME is not set; set it, %s or %s", one.xdg, one.override)
		}
		*one.to = filepath.Join(base, "patchlab", one.sub)
	}
	var err error
	d.Runtime, err = runtimeDir(getenv, uid)
	return d, err
}

// runtimeDir is short, because it holds sockets. Root's XDG_RUNTIME_DIR is not used: a login sets it to a directory that
// the user that QEMU runs as cannot enter.
func runtimeDir(getenv func(string) string, uid int) (string, error) {
	if own := getenv("PATCHLAB_RUNTIME_DIR"); own != "" {
		if !filepath.IsAbs(own) || len(own) > MaxRuntime {
			return "", fmt.Errorf("PATCHLAB_RUNTIME_DIR is %q: want an absolute path of at most %d bytes, because it holds sockets",
				own, MaxRuntime)
		}
		return filepath.Clean(own), nil
	}
	if uid == 0 {
		return "/run/patchlab", nil
	}
	if base := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(base) {
		if own := filepath.Join(base, "patchlab"); len(own) <= MaxRuntime {
			return own, nil
		}
	}
	return "/tmp/patchlab-" + strconv.Itoa(uid), nil
}

// Make creates the directories that are missing. It refuses a runtime directory that somebody else owns or may write to:
// below /tmp anybody could have made it.
func (d Dirs) Make() error {
	mode := fs.FileMode(0o700)
	if d.uid == 0 {
		mode = 0o711
	}
	for _, path := range []string{d.Images, d.Runs, d.Cache, d.Runtime} {
		// What is above is made as a passage, too: the user that QEMU runs as must reach the leaf.
		if err := os.MkdirAll(filepath.Dir(path), mode|0o011); err != nil {
			return fmt.Errorf("making the directory above %s: %w", path, err)
		}
		if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making %s: %w", path, err)
		}
	}
	return d.checkRuntime()
}

func (d Dirs) checkRuntime() error {
	info, err := os.Lstat(d.Runtime)
	if err != nil {
		return fmt.Errorf("checking the runtime directory: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != d.uid || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("the runtime directory %s is not a directory that belongs to you alone (%s): "+
			"remove it, or name another one in PATCHLAB_RUNTIME_DIR", d.Runtime, info.Mode())
	}
	return nil
}
