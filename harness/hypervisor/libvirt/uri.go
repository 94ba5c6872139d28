package libvirt

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	golibvirt "github.com/digitalocean/go-libvirt"
)

// endpoint is where a libvirt listens, and which of its drivers to ask for.
type endpoint struct {
	uri     golibvirt.ConnectURI
	sockets []string // tried in turn
	system  bool
}

// parseURI understands the URIs of QEMU on this host.
func parseURI(text string) (endpoint, error) {
	uri, err := url.Parse(text)
	if err != nil {
		return endpoint{}, fmt.Errorf("reading the libvirt URI %q: %w", text, err)
	}
	if uri.Scheme != "qemu" && uri.Scheme != "qemu+unix" || uri.Host != "" {
		return endpoint{}, fmt.Errorf("libvirt URI %q: only QEMU on this host is supported (qemu:///system, qemu:///session)", text)
	}
	if uri.Path != "/system" && uri.Path != "/session" {
		return endpoint{}, fmt.Errorf("libvirt URI %q: the path is %q (have /system, /session)", text, uri.Path)
	}
	for key := range uri.Query() {
		if key != "socket" {
			return endpoint{}, fmt.Errorf("libvirt URI %q: unknown parameter %q (have socket)", text, key)
		}
	}
	e := endpoint{uri: golibvirt.ConnectURI("qemu://" + uri.Path), system: uri.Path == "/system"}
	if socket := uri.Query().Get("socket"); socket != "" {
		e.sockets = []string{socket}
		return e, nil
	}
	dir := "/run/libvirt"
	if !e.system {
		if dir, err = sessionDir(os.Getenv); err != nil {
			return endpoint{}, fmt.Errorf("libvirt URI %q: %w", text, err)
		}
	}
	// The one daemon for everything, and the one for QEMU alone of newer distributions.
	e.sockets = []string{filepath.Join(dir, "libvirt-sock"), filepath.Join(dir, "virtqemud-sock")}
	return e, nil
}

// sessionDir is where a user's own libvirt listens.
func sessionDir(getenv func(string) string) (string, error) {
	if runtime := getenv("XDG_RUNTIME_DIR"); runtime != "" {
		return filepath.Join(runtime, "libvirt"), nil
	}
	if cache := getenv("XDG_CACHE_HOME"); cache != "" {
		return filepath.Join(cache, "libvirt"), nil
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "libvirt"), nil
	}
	return "", fmt.Errorf("neither XDG_RUNTIME_DIR nor HOME is set: name the socket (?socket=PATH)")
}
