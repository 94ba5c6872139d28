package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// schema of image.json.
const schema = 1

// Sentinels for those who must decide.
var (
	// ErrNotBuilt means that the store has no image of the name.
	ErrNotBuilt = errors.New("not built yet")
	// ErrInUse means that a live run stands on the image, or a guest that one has kept.
	ErrInUse = errors.New("in use by a live run or by a guest that was kept (patchlab gc --kept takes those away)")
)

// DamagedError is an image whose disk is not what was built.
type DamagedError struct {
	Name   string
	Disk   string
	Reason string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("image %s is damaged: %s %s; make it anew: patchlab image build %s --rebuild, or import it again", e.Name, e.Disk, e.Reason, e.Name)
}

// Image is a built one. All but Disk is recorded in image.json beside the disk.
type Image struct {
	Schema int    `json:"schema"`
	Name   string `json:"name"`
	// Digest identifies the image: it covers the disk, what else was saved with it, and the recipe. 64 hexadecimal digits.
	Digest string `json:"digest"`
	Recipe string `json:"recipe"` // see [Recipe]
	// Base is the digest of the image that a derived one stands on, see [Derivation].
	Base string `json:"base,omitempty"`

	Disk       string `json:"-"` // path of the read-only qcow2 disk
	DiskSHA256 string `json:"disk_sha256"`
	DiskSize   int64  `json:"disk_size"` // bytes of the file

	// Variables is the path of the EFI variables that the firmware has settled on the disk; empty for a BIOS.
	Variables       string `json:"-"`
	VariablesSHA256 string `json:"variables_sha256,omitempty"`

	// Template is what makes a guest of the image go on instead of booting it; nil for an image that is off.
	Template *Template `json:"template,omitempty"`

	Distribution string              `json:"distribution"`
	Release      string              `json:"release"`
	Pockets      []string            `json:"pockets"`
	Firmware     hypervisor.Firmware `json:"firmware"`
	MemoryMiB    int                 `json:"memory_mib"`
	VCPUs        int                 `json:"vcpus"`
	MAC          string              `json:"mac"`                // of every clone: a clone has the hardware that its image knows
	HostKey      string              `json:"host_key"`           // the guest's, as in authorized_keys: TYPE BASE64
	Access       Access              `json:"access"`             // how clones are reached
	Imported     *Imported           `json:"imported,omitempty"` // what is known of an image from elsewhere; nil for a built one
	Services     []string            `json:"services"`
	Packages     map[string]string   `json:"packages"` // name -> version
	Built        time.Time           `json:"built"`
	Hypervisor   string              `json:"hypervisor"` // under which it was built and checked
	Seconds      map[string]float64  `json:"seconds"`    // what each stage of the build took
}

// Open finds the image of a name and makes sure that its disk is what was built. It returns an error that wraps
// [ErrNotBuilt] or a [*DamagedError], both with the remedy.
func Open(ctx context.Context, store *Store, name string) (Image, error) {
	found, err := store.Find(name)
	if err != nil {
		return Image{}, err
	}
	return found, store.Check(ctx, found)
}

// ShortDigest is enough of the digest to tell images apart by eye.
func (i Image) ShortDigest() string { return i.Digest[:min(12, len(i.Digest))] }

// digest computes [Image.Digest].
func (i Image) digest() string {
	text := "disk " + i.DiskSHA256 + "\nrecipe " + i.Recipe + "\n"
	if i.VariablesSHA256 != "" {
		text += "variables " + i.VariablesSHA256 + "\n"
	}
	if i.Template != nil {
		text += i.Template.digestText()
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// mac derives the address of the network card from the image's name: locally administered, QEMU's own range.
func mac(name string) string {
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", sum[0], sum[1], sum[2])
}

// hostKey cuts the comment off a public key's line.
func hostKey(line string) (string, error) {
	fields := strings.Fields(line)
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "ssh-") {
		return "", fmt.Errorf("reading the guest's host key: not a public key: %q", line[:min(len(line), 100)])
	}
	return fields[0] + " " + fields[1], nil
}
