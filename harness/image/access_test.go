package image

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

func TestACloneGetsWhatItsImagesAccessSays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		access          Access
		credential, key bool // by which way the key comes
		seed            bool
	}{
		"an image of before there were imports":     {access: Access{}, credential: true},
		"a credential":                              {access: Access{Way: WayCredential}, credential: true},
		"a credential, for a guest with cloud-init": {access: Access{Way: WayCredential, Instance: "i"}, credential: true, seed: true},
		"a seed":                             {access: Access{Way: WaySeed, Instance: "i"}, key: true, seed: true},
		"a key":                              {access: Access{Way: WayKey, User: "admin", KeyFile: "/k"}},
		"a key, for a guest with cloud-init": {access: Access{Way: WayKey, User: "admin", KeyFile: "/k", Instance: "i"}, seed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "seed.iso")
			var spec hypervisor.DomainSpec
			check(t, test.access.HandOver("ssh-ed25519 AAAA patchlab", path, &spec))
			want := hypervisor.DomainSpec{}
			if test.credential {
				want.Credentials = map[string]string{"ssh.authorized_keys.root": "ssh-ed25519 AAAA patchlab"}
			}
			if test.seed {
				want.Seed = path
			}
			if diff := cmp.Diff(want, spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			content, _ := os.ReadFile(path) // there may be none
			if got := bytes.Contains(content, []byte("ssh-ed25519 AAAA")); got != test.key {
				t.Errorf("the seed holds the key: %v, want %v", got, test.key)
			}
		})
	}
}

func TestAccessIsSaidInWords(t *testing.T) {
	t.Parallel()
	for want, access := range map[string]Access{
		"root, a key for each clone, as a systemd credential":          {},
		"debian with sudo, a key for each clone, on a cloud-init seed": {Way: WaySeed, User: "debian"},
		"root, the key in /root/lab":                                   {Way: WayKey, KeyFile: "/root/lab"},
	} {
		if got := access.String(); got != want {
			t.Errorf("said as %q, want %q", got, want)
		}
	}
}
