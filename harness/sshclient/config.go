package sshclient

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// Config says where the user's ssh settings are.
type Config struct {
	Home        string   // the user's home directory
	User        string   // the login name on this host: the default for others
	Files       []string // ssh_config files; of several values the first file's counts
	KnownHosts  []string // beside those that ssh_config names
	AgentSocket string   // "" = no agent
}

// UserConfig is the configuration of the user that runs this process. getenv is os.Getenv outside tests.
func UserConfig(getenv func(string) string) (Config, error) {
	home := getenv("HOME")
	account, err := user.Current()
	switch {
	case err != nil && home == "":
		return Config{}, fmt.Errorf("finding the user's ssh settings: %w", err)
	case err == nil && home == "":
		home = account.HomeDir
	}
	c := Config{
		Home: home, AgentSocket: getenv("SSH_AUTH_SOCK"),
		Files:      []string{filepath.Join(home, ".ssh/config"), "/etc/ssh/ssh_config"},
		KnownHosts: []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"},
	}
	if err == nil {
		c.User = account.Username
	}
	return c, nil
}

// Settings are what applies to one target.
type Settings struct {
	Target                  // complete
	Alias          string   // the host as the person named it
	KnownAs        string   // the host's name in known_hosts
	KnownHosts     []string // files, of which some may be missing
	IdentityFiles  []string // private keys, of which some may be missing
	IdentitiesOnly bool     // offer no other key of the agent
	AgentSocket    string
	Jumps          []string // machines to go through, in order
}

// Resolve finds what applies to a target.
func (c Config) Resolve(t Target) (Settings, error) {
	files, err := c.read()
	if err != nil {
		return Settings{}, err
	}
	get := func(key string) string {
		values := files.all(t.Host, key)
		if len(values) == 0 {
			return ""
		}
		return values[0]
	}
	s := Settings{Target: t, Alias: t.Host, AgentSocket: c.AgentSocket}
	if name := get("HostName"); name != "" {
		s.Host = strings.ReplaceAll(name, "%h", t.Host)
	}
	if s.User == "" {
		s.User = first(get("User"), c.User)
	}
	if s.Port == 0 {
		s.Port = 22
		if text := get("Port"); text != "" {
			port, err := strconv.ParseUint(text, 10, 16)
			if err != nil || port == 0 {
				return Settings{}, fmt.Errorf("reading ssh_config for %s: Port %q is no port", t.Host, text)
			}
			s.Port = int(port)
		}
	}
	s.KnownAs = first(get("HostKeyAlias"), s.Host)
	s.IdentitiesOnly = strings.EqualFold(get("IdentitiesOnly"), "yes")
	c.keys(&s, files, get)
	if command := get("ProxyCommand"); command != "" && !strings.EqualFold(command, "none") {
		return Settings{}, fmt.Errorf("reading ssh_config for %s: ProxyCommand is not supported; ProxyJump is", t.Host)
	}
	if jump := get("ProxyJump"); jump != "" && !strings.EqualFold(jump, "none") {
		s.Jumps = strings.Split(jump, ",")
	}
	return s, nil
}

// keys fills in where keys of hosts and of the user are.
func (c Config) keys(s *Settings, files files, get func(string) string) {
	if known := get("UserKnownHostsFile"); known != "" {
		s.KnownHosts = strings.Fields(known)
	} else {
		s.KnownHosts = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2"}
	}
	s.KnownHosts = c.paths(s, append(s.KnownHosts, c.KnownHosts...))
	s.IdentityFiles = c.paths(s, files.all(s.Alias, "IdentityFile"))
	if len(s.IdentityFiles) == 0 {
		s.IdentityFiles = c.paths(s, []string{"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"})
	}
	switch agent := get("IdentityAgent"); {
	case strings.EqualFold(agent, "none"):
		s.AgentSocket = ""
	case agent != "" && agent != "SSH_AUTH_SOCK":
		s.AgentSocket = c.paths(s, []string{agent})[0]
	}
}

// paths expands what ssh_config's paths may begin with or contain.
func (c Config) paths(s *Settings, all []string) []string {
	expand := strings.NewReplacer("%%", "%", "%d", c.Home, "%h", s.Host, "%n", s.Alias, "%p", strconv.Itoa(s.Port), "%r", s.User,
		"%u", c.User)
	var expanded []string
	for _, path := range all {
		path = strings.Trim(path, `"`)
		if rest, ok := strings.CutPrefix(path, "~/"); ok {
			path = filepath.Join(c.Home, rest)
		}
		expanded = append(expanded, expand.Replace(path))
	}
	return expanded
}

// files are the ssh_config files, the first of which goes first.
type files []*ssh_config.Config

func (c Config) read() (files, error) {
	var all files
	for _, path := range c.Files {
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the ssh configuration: %w", err)
		}
		decoded, err := ssh_config.DecodeBytes(content)
		if err != nil {
			return nil, fmt.Errorf("reading the ssh configuration %s: %w", path, err)
		}
		all = append(all, decoded)
	}
	return all, nil
}

func (f files) all(alias, key string) []string {
	var values []string
	for _, file := range f {
		found, err := file.GetAll(alias, key)
		if err == nil { // an Include that goes too deep was reported by decoding
			values = append(values, found...)
		}
	}
	return values
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
