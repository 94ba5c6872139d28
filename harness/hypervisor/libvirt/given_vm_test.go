//go:build vmtest

package libvirt_test

import (
	"context"
	"os"
	"testing"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/counter"
	"github.com/patchlab/patchlab/harness/hypervisor/drivertest"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
)

// TestConformanceOfTheGivenLibvirt passes with any libvirt whose QEMUs run on this host, such as a system one, or one that
// is reached over ssh to this host. Without a URI in PATCHLAB_TEST_URI it is no test.
func TestConformanceOfTheGivenLibvirt(t *testing.T) {
	uri := os.Getenv("PATCHLAB_TEST_URI")
	if uri == "" {
		return
	}
	dir := openDir(t)
	drivertest.Run(t, drivertest.Bench{
		Open: func(ctx context.Context) (hypervisor.Driver, error) {
			return libvirt.Connect(ctx, libvirt.Options{URI: uri, Tell: func(text string) { t.Log(text) }})
		},
		Dir:         openDir,
		Backing:     bootImage(t, dir, "boot", drivertest.BootDisk()),
		Counting:    bootImage(t, dir, "counting", counter.Disk()),
		Greeting:    drivertest.BootGreeting,
		Accelerator: hypervisor.TCG,
		Kill: func(t *testing.T, _ hypervisor.Driver, name string) {
			t.Helper()
			killQEMU(t, name)
		},
	})
}
