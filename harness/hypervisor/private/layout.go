package private

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// layout names the files of the private libvirt. The configuration lies at the top, as its sub-directories hold the
// longest paths of sockets.
type layout struct {
	dir string
}

func (l layout) runtime() string { return filepath.Join(l.dir, "run") }
func (l layout) socket() string  { return filepath.Join(l.runtime(), "libvirt", "libvirt-sock") }
func (l layout) config() string  { return filepath.Join(l.dir, "libvirt") }
func (l layout) cache() string   { return filepath.Join(l.dir, "cache") }
func (l layout) data() string    { return filepath.Join(l.dir, "data") }
func (l layout) home() string    { return filepath.Join(l.dir, "home") }
func (l layout) log() string     { return filepath.Join(l.config(), "libvirtd.log") }
func (l layout) lock() string    { return filepath.Join(l.dir, "lock") }
func (l layout) mask() string    { return filepath.Join(l.dir, "no-kvm") }
func (l layout) state() string   { return filepath.Join(l.dir, "state.json") }
func (l layout) output() string  { return filepath.Join(l.dir, "start.log") }

// environment is all that libvirtd gets to know of ours: it keeps to these directories.
func (l layout) environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C",
		"HOME=" + l.home(),
		"XDG_RUNTIME_DIR=" + l.runtime(),
		"XDG_CONFIG_HOME=" + l.dir,
		"XDG_CACHE_HOME=" + l.cache(),
		"XDG_DATA_HOME=" + l.data(),
	}
}

// The configuration: the guests' consoles are plain files without a virtlogd, nothing confines QEMU further than its
// unprivileged user, and the log has a place that is known.
const qemuConfig = `stdio_handler = "file"
security_driver = "none"
`

func (l layout) daemonConfig() string {
	const warningsAndErrors = 3
	return fmt.Sprintf("log_level = %d\nlog_outputs = \"%d:file:%s\"\n", warningsAndErrors, warningsAndErrors, l.log())
}

// makeTop creates the directory that holds all others. It stays ours.
func (l layout) makeTop() error {
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711 // the account may pass
	}
	if err := os.MkdirAll(l.dir, mode); err != nil {
		return err
	}
	return checkOwn(l.dir)
}

// handOver creates the directories that libvirt writes to, and makes them the account's.
func (l layout) handOver(account account) error {
	// The runtime directory comes last: its owner is the account, see [layout.account].
	for _, dir := range []string{l.config(), l.cache(), l.data(), l.home(), l.runtime()} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if !account.drop {
			continue
		}
		if err := os.Lchown(dir, account.uid, account.gid); err != nil {
			return err
		}
	}
	return nil
}

// checkOwn refuses a directory that somebody else has put there, which is possible below /tmp.
func checkOwn(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a directory of our own that nobody else may write", dir)
	}
	return nil
}

// configure writes libvirt's configuration.
func (l layout) configure() error {
	for name, content := range map[string]string{"qemu.conf": qemuConfig, "libvirtd.conf": l.daemonConfig()} {
		if err := replace(filepath.Join(l.config(), name), content, 0o644); err != nil {
			return fmt.Errorf("configuring libvirt: %w", err)
		}
	}
	return nil
}

// state is what later callers need to know about how the libvirt was started.
type state struct {
	KVM   bool     `json:"kvm"`
	Notes []string `json:"notes,omitempty"`
}

func (l layout) readState() (state, error) {
	content, err := os.ReadFile(l.state())
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil // who started it died in between: the careful answer
	}
	if err != nil {
		return state{}, fmt.Errorf("reading how the private libvirt was started: %w", err)
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return state{}, fmt.Errorf("reading how the private libvirt was started, %s: %w", l.state(), err)
	}
	return s, nil
}

func (l layout) writeState(s state) error {
	content, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("noting how the private libvirt was started: %w", err)
	}
	if err := replace(l.state(), string(content), 0o600); err != nil {
		return fmt.Errorf("noting how the private libvirt was started: %w", err)
	}
	return nil
}

// replace writes a file, whole or not at all. Only one patchlab at a time does, as it holds the lock.
func replace(path, content string, mode fs.FileMode) error {
	temporary := path + ".new"
	// Not what somebody may have put there: the directory may be another user's.
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
