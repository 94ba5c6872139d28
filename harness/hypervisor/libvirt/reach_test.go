package libvirt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// stranger is a user who owns nothing and is in no group of ours.
func stranger() *Owner { return &Owner{Name: "stranger", UID: 54321, GID: 54321} }

func TestADirectoryThatQEMUMayNotEnterIsNamed(t *testing.T) {
	t.Parallel()
	open := t.TempDir()
	for dir := open; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	closed := filepath.Join(open, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(open, "image.qcow2")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	spec := hypervisor.DomainSpec{
		Disk:    hypervisor.Disk{Path: filepath.Join(open, "disk.qcow2")},
		Console: filepath.Join(open, "console.log"),
	}
	host := local{owner: stranger()}
	if err := host.checkReach(spec); err != nil {
		t.Errorf("all is within reach: %v", err)
	}
	below := spec
	below.Console = filepath.Join(closed, "console.log")
	if err := host.checkReach(below); err == nil || !strings.Contains(err.Error(), "no access to "+closed) {
		t.Errorf("below a closed directory: %v", err)
	}
	above := spec
	above.Disk.Backing = image
	if err := host.checkReach(above); err == nil || !strings.Contains(err.Error(), "no access to "+image) {
		t.Errorf("above a closed image: %v", err)
	}
	if err := (local{}).checkReach(above); err != nil {
		t.Errorf("QEMU that runs as ourselves: %v", err)
	}
}
