//go:build vmtest

package image_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/wait"
)

// TestAForeignGuestIsReachedByItsCloudInit imports a disk on which root has somebody else's key, so that systemd does not write ours,
// once for root and once for cloud-init's own user.
func TestAForeignGuestIsReachedByItsCloudInit(t *testing.T) {
	builder := newBuilder(t)
	m, err := manifest.Load(os.DirFS("testdata"), "cloud-guest")
	if err != nil {
		t.Fatal(err)
	}
	built, err := builder.Build(t.Context(), m, false)
	if err != nil {
		t.Fatal(err)
	}
	file := foreignDisk(t, builder, built)
	for _, user := range []string{"root", "debian"} {
		t.Run(user, func(t *testing.T) {
			imported, err := builder.Import(t.Context(), image.ImportOrder{
				File: file, Name: "foreign-" + user, Firmware: hypervisor.BIOS, MemoryMiB: 512, VCPUs: 1, User: user,
				NewKey: keyFor, HostKey: sshguest.HostKey,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("access %s, lacks %q, seconds %v", imported.Access, imported.Imported.Lacks, imported.Seconds)
			if imported.Access.Way != image.WaySeed || imported.Access.User != user || imported.Release != "bookworm" {
				t.Errorf("access %+v, release %s, want cloud-init's seed for %s on bookworm", imported.Access, imported.Release, user)
			}
			for _, want := range []string{"no guest agent", "serial console"} {
				if !slices.ContainsFunc(imported.Imported.Lacks, func(lack string) bool { return strings.Contains(lack, want) }) {
					t.Errorf("nothing says %q", want)
				}
			}
			lookAtForeignClone(t, builder, imported)
		})
	}
}

// lookAtForeignClone boots a clone with a key of its own.
func lookAtForeignClone(t *testing.T, builder *image.Builder, imported image.Image) {
	t.Helper()
	spec, key := cloneSpec(t, builder, imported)
	domain := define(t, builder, spec)
	conn := bootClone(t, builder, imported, domain, key)
	for name, check := range map[string]struct{ line, want string }{
		"the login is the administrator's":   {"id -u", "0"},
		"somebody else's key is still there": {"grep -c 'somebody@example.org$' /root/.ssh/authorized_keys", "1"},
		"there is one key of ours":           {"grep -c ' patchlab$' ~" + imported.Access.User + "/.ssh/authorized_keys", "1"},
		"its name is its own":                {"hostname", "debian"},
		"cloud-init knows it":                {"cat /var/lib/cloud/data/instance-id", imported.Access.Instance},
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t, conn, check.line); got != check.want {
				t.Errorf("%s\nsays %q\nwant %q", check.line, got, check.want)
			}
		})
	}
}

// foreignDisk makes a disk of a clone, in which nothing is as patchlab wants it.
func foreignDisk(t *testing.T, builder *image.Builder, built image.Image) string {
	t.Helper()
	spec, key := cloneSpec(t, builder, built)
	domain := define(t, builder, spec)
	conn := bootClone(t, builder, built, domain, key)
	run(t, conn, "echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8lTn0yLZ5uRz1oYp1l8VdJ0S9Z9yX1Jm1k3v5y7w9q somebody@example.org' >/root/.ssh/authorized_keys; "+
		"sed -i 's/console=ttyS0//; s/console serial/console/' /etc/default/grub && update-grub 2>&1; "+
		"cloud-init clean --logs; sync")
	// The answer may be lost with the connection.
	_, _ = conn.Run(t.Context(), guest.Command{Line: "systemctl poweroff"})
	ctx, cancel := context.WithTimeout(t.Context(), builder.Timeouts.Shutdown)
	defer cancel()
	err := wait.Until(ctx, "the guest to power off", time.Second, func(ctx context.Context) (bool, error) {
		state, err := domain.State(ctx)
		return state == hypervisor.StateOff, err
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(openDir(t), "foreign.qcow2")
	convert := exec.CommandContext(t.Context(), "qemu-img", "convert", "-O", "qcow2", "-c", spec.Disk.Path, file)
	if out, err := convert.CombinedOutput(); err != nil {
		t.Fatalf("flattening the clone: %v: %s", err, out)
	}
	return file
}
