package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/sshclient"
)

// endpoint is where a libvirt listens, and which of its drivers to ask for.
type endpoint struct {
	uri     golibvirt.ConnectURI
	sockets []string // tried in turn
	system  bool

	// target is the machine, if it is not this host, and dir where files go there, if the user says so.
	target *sshclient.Target
	dir    string
	// dialer reaches a socket of it.
	dialer func(ctx context.Context, network, address string) (net.Conn, error)
}

// Reaches tells whether a URI leads to another machine. A URI that [Connect] would not understand does not.
func Reaches(uri string) (machine string, other bool) {
	e, err := parseURI(uri)
	if err != nil || e.target == nil {
		return "", false
	}
	return e.target.Host, true
}

// parseURI understands the URIs of QEMU on this host, and on others by ssh.
func parseURI(text string) (endpoint, error) {
	uri, err := url.Parse(text)
	if err != nil {
		return endpoint{}, fmt.Errorf("reading the libvirt URI %q: %w", text, err)
	}
	distant := uri.Scheme == "qemu+ssh"
	if !distant && (uri.Scheme != "qemu" && uri.Scheme != "qemu+unix" || uri.Host != "") {
		return endpoint{}, fmt.Errorf("libvirt URI %q: only QEMU on this host (qemu:///system, qemu:///session) and by ssh "+
			"(qemu+ssh://[USER@]HOST[:PORT]/system or /session) is supported", text)
	}
	if uri.Path != "/system" && uri.Path != "/session" {
		return endpoint{}, fmt.Errorf("libvirt URI %q: the path is %q (have /system, /session)", text, uri.Path)
	}
	e := endpoint{uri: golibvirt.ConnectURI("qemu://" + uri.Path), system: uri.Path == "/system", dialer: new(net.Dialer).DialContext}
	known := []string{"socket"}
	if distant {
		known = []string{"dir", "socket"}
		if e.target, err = target(uri); err != nil {
			return endpoint{}, fmt.Errorf("libvirt URI %q: %w", text, err)
		}
		if e.dir = uri.Query().Get("dir"); e.dir != "" && !path.IsAbs(e.dir) {
			return endpoint{}, fmt.Errorf("libvirt URI %q: dir is %q, want an absolute path", text, e.dir)
		}
	}
	for key := range uri.Query() {
		if !slices.Contains(known, key) {
			return endpoint{}, fmt.Errorf("libvirt URI %q: unknown parameter %q (have %s)", text, key, strings.Join(known, ", "))
		}
	}
	switch socket := uri.Query().Get("socket"); {
	case socket != "":
		e.sockets = []string{socket}
	case e.system:
		e.sockets = socketsIn("/run/libvirt")
	case !distant: // the other machine has to be asked
		dir, err := sessionDir(os.Getenv)
		if err != nil {
			return endpoint{}, fmt.Errorf("libvirt URI %q: %w", text, err)
		}
		e.sockets = socketsIn(dir)
	}
	return e, nil
}

// target reads which machine a URI names; all else about it is in ssh's configuration.
func target(uri *url.URL) (*sshclient.Target, error) {
	if _, secret := uri.User.Password(); secret {
		return nil, errors.New("it has a password: use a key")
	}
	t := uri.Host
	if name := uri.User.Username(); name != "" {
		t = name + "@" + t
	}
	found, err := sshclient.ParseTarget(t)
	return &found, err
}

// socketsIn names the socket of the one daemon for everything, and that of the one for QEMU alone of newer distributions.
func socketsIn(dir string) []string {
	return []string{path.Join(dir, "libvirt-sock"), path.Join(dir, "virtqemud-sock")}
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
