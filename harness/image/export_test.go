package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/hypervisor"
)

// fakeQEMUImgOfExports answers "convert ... FROM TO" with the header of a disk of 2.5 GiB.
const fakeQEMUImgOfExports = `#!/bin/sh
for to; do :; done
printf 'QFI\373\0\0\0\3' >"$to"
head -c 16 /dev/zero >>"$to"
printf '\0\0\0\0\240\0\0\0' >>"$to"
head -c 100 /dev/zero >>"$to"
`

func TestAnExportedDiskIsWholeAndOverwritesNothing(t *testing.T) {
	_ = newBench(t) // its tools
	_, from := storeWith(t, "web", "content of the disk", time.Unix(1700000000, 0))
	path := filepath.Join(t.TempDir(), "web.qcow2")
	exported, err := ExportDisk(t.Context(), from, path)
	if err != nil || exported.Size != int64(len("a disk\n")) || exported.Digest != from.Digest {
		t.Fatalf("exported %+v, error %v", exported, err)
	}
	if _, err := ExportDisk(t.Context(), from, path); !errors.Is(err, ErrFileExists) {
		t.Errorf("a second export: error %v, want ErrFileExists", err)
	}
	replaceTool(t, "qemu-img", "#!/bin/sh\necho 'No space left on device' >&2\nexit 1\n")
	other := filepath.Join(filepath.Dir(path), "other.qcow2")
	if _, err := ExportDisk(t.Context(), from, other); err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("error %v, want QEMU's own words", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v, error %v, want the first export alone", entries, err)
	}
}

func TestABoxHoldsADiskInWhichVagrantHasAUser(t *testing.T) {
	b := newImportBench(t)
	imported, err := b.Import(t.Context(), b.order)
	check(t, err)
	replaceTool(t, "qemu-img", fakeQEMUImgOfExports)
	var made string
	b.script.On("sh -s", func(ctx context.Context, command guest.Command) guest.Result {
		text, _ := io.ReadAll(command.Stdin)
		made = string(text)
		return guesttest.Says("")(ctx, command)
	})
	var spec hypervisor.DomainSpec
	b.driver.OnStart = func(started hypervisor.DomainSpec) error { spec = started; return nil }
	path := filepath.Join(t.TempDir(), "web.box")
	exported, err := b.ExportBox(t.Context(), imported, path, b.newKey)
	if err != nil {
		t.Fatal(err)
	}
	if spec.MAC != imported.MAC || spec.Disk.Backing != imported.Disk || !strings.Contains(made, "NOPASSWD") {
		t.Errorf("the clone had the address %s above %s and ran %q", spec.MAC, spec.Disk.Backing, made)
	}
	if exported.Format != "vagrant" || len(exported.Notes) == 0 {
		t.Errorf("exported %+v", exported)
	}
	parts := readBox(t, path)
	var metadata struct {
		Provider string `json:"provider"`
		Format   string `json:"format"`
		Size     int    `json:"virtual_size"`
	}
	if err := json.Unmarshal(parts["metadata.json"], &metadata); err != nil || metadata.Provider != "libvirt" || metadata.Size != 3 {
		t.Errorf("metadata %s, error %v, want libvirt's with 2.5 GiB rounded up", parts["metadata.json"], err)
	}
	if len(parts["box.img"]) != 132 || !strings.Contains(string(parts["Vagrantfile"]), "Vagrant.configure") {
		t.Errorf("the box has a disk of %d bytes and the Vagrantfile %q", len(parts["box.img"]), parts["Vagrantfile"])
	}
	if domains, err := b.driver.Domains(t.Context()); err != nil || len(domains) != 0 {
		t.Errorf("domains are left: %v, error %v", domains, err)
	}
	if diff := cmp.Diff(imported, mustOpen(t, b.Store)); diff != "" {
		t.Errorf("the image has changed (-before +after):\n%s", diff)
	}
}

func readBox(t *testing.T, path string) map[string][]byte {
	t.Helper()
	file, err := os.Open(path)
	check(t, err)
	t.Cleanup(func() { _ = file.Close() })
	unpacked, err := gzip.NewReader(file)
	check(t, err)
	box := tar.NewReader(unpacked)
	parts := map[string][]byte{}
	for {
		header, err := box.Next()
		if errors.Is(err, io.EOF) {
			return parts
		}
		check(t, err)
		parts[header.Name], err = io.ReadAll(box)
		check(t, err)
	}
}

func mustOpen(t *testing.T, store *Store) Image {
	t.Helper()
	opened, err := Open(t.Context(), store, "web")
	check(t, err)
	return opened
}
