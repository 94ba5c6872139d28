package image

import (
	"fmt"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// Way is how a clone's key gets into the guest.
type Way string

// The ways, in the order in which an import tries them.
const (
	// WayCredential hands root's key over as a systemd credential (systemd 252 or newer). Nothing is written to the image.
	WayCredential Way = "credential"
	// WaySeed hands the key over on a NoCloud seed, which cloud-init reads at every boot.
	WaySeed Way = "seed"
	// WayKey uses a private key whose public half is in the image.
	WayKey Way = "key"
)

// Access says how clones of an image are reached. The zero value is that of every image that patchlab built: root, by a
// credential.
type Access struct {
	Way  Way    `json:"way"`
	User string `json:"user"` // whose login it is; one that is not root becomes root through sudo without a password
	// KeyFile is the private key of WayKey. It stays where its owner keeps it: the store holds no secrets.
	KeyFile string `json:"key_file,omitempty"`
	// Instance is the id under which cloud-init knows the guest. Where it is set every clone gets a seed with it: under another
	// id, or none, cloud-init takes the clone for a new machine and sets it up anew.
	Instance string `json:"instance,omitempty"`
}

// withDefaults fills in what the record of an older image lacks.
func (a Access) withDefaults() Access {
	if a.Way == "" {
		a.Way = WayCredential
	}
	if a.User == "" {
		a.User = root
	}
	return a
}

const root = "root"

// Login is the user to log in as.
func (a Access) Login() string { return a.withDefaults().User }

// HandOver adds to a clone's spec what lets its key in and keeps cloud-init at rest. seed is where a CD's file may be
// written; it is no secret.
func (a Access) HandOver(authorizedKey, seed string, spec *hypervisor.DomainSpec) error {
	a = a.withDefaults()
	if a.Way == WayCredential {
		spec.Credentials = map[string]string{"ssh.authorized_keys.root": authorizedKey}
	}
	if a.Instance == "" {
		return nil
	}
	content := Seed{Instance: a.Instance, User: a.User}
	if a.Way == WaySeed {
		content.AuthorizedKey = authorizedKey
	}
	if err := content.Write(seed); err != nil {
		return err
	}
	spec.Seed = seed
	return nil
}

// String says it for a reader.
func (a Access) String() string {
	a = a.withDefaults()
	how := map[Way]string{
		WayCredential: "a key for each clone, as a systemd credential",
		WaySeed:       "a key for each clone, on a cloud-init seed",
		WayKey:        "the key in " + a.KeyFile,
	}[a.Way]
	if a.User != root {
		return fmt.Sprintf("%s with sudo, %s", a.User, how)
	}
	return root + ", " + how
}
