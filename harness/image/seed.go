package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kdomanski/iso9660"
)

// Seed is the data that cloud-init finds on a clone's CD (its NoCloud source).
type Seed struct {
	Instance      string // see [Access.Instance]
	User          string // default root
	AuthorizedKey string // a line of authorized_keys; "" brings no key
}

// seedLabel is the volume label by which cloud-init knows its CD.
const seedLabel = "cidata"

// Write makes the CD's file, an ISO 9660 image of some 50 KiB.
func (s Seed) Write(path string) (err error) {
	files, err := s.files()
	if err != nil {
		return err
	}
	writer, err := iso9660.NewWriter()
	if err != nil {
		return fmt.Errorf("making cloud-init's seed: %w", err)
	}
	defer func() { err = errors.Join(err, writer.Cleanup()) }()
	for name, content := range files {
		if err := writer.AddFile(strings.NewReader(content), name); err != nil {
			return fmt.Errorf("making cloud-init's seed: %w", err)
		}
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("making cloud-init's seed: %w", err)
	}
	if err := errors.Join(writer.WriteTo(file, seedLabel), file.Close()); err != nil {
		return fmt.Errorf("making cloud-init's seed: %w", err)
	}
	return nil
}

// files are those that cloud-init reads. JSON is YAML.
func (s Seed) files() (map[string]string, error) {
	if s.Instance == "" || strings.ContainsAny(s.AuthorizedKey, "\n\r'") || strings.ContainsAny(s.User, " '/:\n") {
		return nil, fmt.Errorf("making cloud-init's seed: bad instance %q, user %q or key", s.Instance, s.User)
	}
	meta, err := json.Marshal(map[string]any{"instance-id": s.Instance})
	if err != nil {
		return nil, fmt.Errorf("making cloud-init's seed: %w", err)
	}
	// The guest is to stay what it is: cloud-init sets a new machine's host keys, name, package sources, locale and users.
	config := map[string]any{
		"ssh_deletekeys": false, "preserve_hostname": true, "manage_etc_hosts": false, "locale": false,
		"apt": map[string]any{"preserve_sources_list": true}, "users": []string{},
	}
	if s.AuthorizedKey != "" {
		// At every boot, unlike the rest: a clone's first boot is not its image's first.
		config["bootcmd"] = [][]string{{"sh", "-c", s.keyScript()}}
		if s.user() != root {
			// It may be the user that cloud-init makes, at the image's first boot, after bootcmd.
			config["users"] = []string{"default"}
			config["ssh_authorized_keys"] = []string{s.AuthorizedKey}
		}
	}
	user, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("making cloud-init's seed: %w", err)
	}
	return map[string]string{"meta-data": string(meta) + "\n", "user-data": "#cloud-config\n" + string(user) + "\n"}, nil
}

func (s Seed) user() string {
	if s.User == "" {
		return root
	}
	return s.User
}

// keyScript replaces patchlab's line in the user's authorized_keys and leaves the others.
func (s Seed) keyScript() string {
	return strings.NewReplacer("USER", s.user(), "KEY", s.AuthorizedKey).Replace(`set -u
home=$(getent passwd USER | cut -d: -f6)
[ -d "$home" ] || exit 0
umask 077
mkdir -p "$home/.ssh"
file="$home/.ssh/authorized_keys"
others=$(grep -vs ' patchlab$' "$file")
printf '%s\n' ${others:+"$others"} 'KEY' >"$file"
chown -R "$(id -u USER):$(id -g USER)" "$home/.ssh"
if command -v restorecon >/dev/null; then restorecon -R "$home/.ssh"; fi
`)
}
