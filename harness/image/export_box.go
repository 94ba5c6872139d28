package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/progress"
)

// boxVagrantfile is the box's own configuration, below the user's. The synced folder would need programs in the guest that
// need not be there.
const boxVagrantfile = `Vagrant.configure("2") do |config|
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.vm.provider :libvirt do |libvirt|
    libvirt.disk_bus = "virtio"
  end
end
`

// ExportBox boots a clone of an image, makes the user in it by whom Vagrant gets in, and packs the clone's disk as a box for Vagrant's
// libvirt provider. The image itself stays as it is.
func (b *Builder) ExportBox(ctx context.Context, from Image, path string, newKey func(Access) (Key, error)) (exported Exported, err error) {
	if from.Firmware == hypervisor.EFI {
		return Exported{}, fmt.Errorf("exporting image %s: a box of an EFI guest is not made by this version; export its disk", from.Name)
	}
	job := &buildJob{
		Builder: b, seconds: map[string]float64{}, hostKey: from.HostKey, access: from.Access,
		manifest: manifest.Manifest{
			Name: from.Name + "-box", Firmware: from.Firmware, Memory: manifest.Size(from.MemoryMiB), VCPUs: from.VCPUs,
		},
	}
	name := job.manifest.Name
	waiting := func() { b.emit(name, progress.Note, "wait", "another export of "+from.Name+" is running") }
	job.workshop, err = b.Store.openWorkshop(ctx, workshopOrder{name: name, waiting: waiting, clear: job.clearDomains})
	if err != nil {
		return Exported{}, err
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.Timeouts.Cleanup)
		defer cancel()
		err = errors.Join(err, job.workshop.close(cleanup))
	}()
	if err := job.openLog(b.Store.Dir); err != nil {
		return Exported{}, err
	}
	defer func() { err = errors.Join(err, job.closeLog()) }()
	exported = Exported{File: path, Format: "vagrant", Image: from.Name, Digest: from.Digest, Notes: []string{
		"a user vagrant with sudo was made in it, whom everybody's key lets in until the first `vagrant up` replaces it", aliasNote,
	}}
	if err := whole(path, func(temporary string) error { return job.makeBox(ctx, from, temporary, newKey) }); err != nil {
		return Exported{}, fmt.Errorf("exporting image %s (log: %s): %w", from.Name, job.logs, err)
	}
	return exported.measured()
}

func (j *buildJob) makeBox(ctx context.Context, from Image, path string, newKey func(Access) (Key, error)) error {
	spec := j.spec("first")
	spec.Disk.Backing, spec.MAC = from.Disk, from.MAC
	disk := j.workshop.file("box.img")
	err := j.withMachine(ctx, spec, func(ctx context.Context, m *machine) error {
		key, err := newKey(j.access)
		if err != nil {
			return err
		}
		if err := j.access.HandOver(key.AuthorizedKey, j.workshop.file(seedFile), &m.spec); err != nil {
			return err
		}
		if err := j.stage(ctx, "first boot", func(ctx context.Context) error { return m.bootWith(ctx, key) }); err != nil {
			return err
		}
		if err := j.stage(ctx, "setup", func(ctx context.Context) error { return j.makeVagrant(ctx, m) }); err != nil {
			return err
		}
		// Undefining the domain takes its overlay away: so it is flattened while the domain is there, and off.
		return j.stage(ctx, "disk", func(ctx context.Context) error {
			if err := m.powerOff(ctx); err != nil {
				return err
			}
			return compress(ctx, spec.Disk.Path, disk, j.log)
		})
	})
	if err != nil {
		return err
	}
	return j.stage(ctx, "box", func(ctx context.Context) error { return packBox(ctx, path, disk, from) })
}

// makeVagrant makes the user and takes patchlab's own key out again.
func (j *buildJob) makeVagrant(ctx context.Context, m *machine) error {
	if err := j.runScript(ctx, m.conn, "making the user vagrant", vagrantScript); err != nil {
		return err
	}
	command := guest.Command{Line: "sh -s " + j.access.Login(), Stdin: strings.NewReader(adoptedScript)}
	return j.runCommand(ctx, m.conn, "clearing up in the guest", command)
}

// packBox writes the archive that a box is.
func packBox(ctx context.Context, path, disk string, from Image) (err error) {
	size, err := virtualSize(disk)
	if err != nil {
		return err
	}
	const gib = 1 << 30
	metadata, err := json.Marshal(map[string]any{
		"provider": "libvirt", "format": "qcow2", "virtual_size": (size + gib - 1) / gib,
	})
	if err != nil {
		return fmt.Errorf("packing the box: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("packing the box: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	// The disk is compressed already.
	packed, err := gzip.NewWriterLevel(file, gzip.BestSpeed)
	if err != nil {
		return fmt.Errorf("packing the box: %w", err)
	}
	box := tar.NewWriter(packed)
	for _, part := range []struct{ name, content string }{
		{"metadata.json", string(metadata) + "\n"}, {"Vagrantfile", boxVagrantfile},
	} {
		if err := addToBox(box, part.name, int64(len(part.content)), strings.NewReader(part.content), from.Built); err != nil {
			return err
		}
	}
	content, err := os.Open(disk)
	if err != nil {
		return fmt.Errorf("packing the box: %w", err)
	}
	defer func() { _ = content.Close() }() // it was only read
	info, err := content.Stat()
	if err != nil {
		return fmt.Errorf("packing the box: %w", err)
	}
	if err := addToBox(box, filepath.Base(disk), info.Size(), contextReader{ctx, content}, from.Built); err != nil {
		return err
	}
	if err := errors.Join(box.Close(), packed.Close()); err != nil {
		return fmt.Errorf("packing the box: %w", err)
	}
	return nil
}

func addToBox(box *tar.Writer, name string, size int64, content io.Reader, when time.Time) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: when}
	if err := box.WriteHeader(header); err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	if _, err := io.Copy(box, content); err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	return nil
}

// virtualSize reads the size of the disk that the guest sees from a qcow2 file.
func virtualSize(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("reading the disk's size: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	header := make([]byte, qcow2HeaderV2)
	if _, err := io.ReadFull(file, header); err != nil {
		return 0, fmt.Errorf("reading the disk's size: %w", err)
	}
	return int64(field64(header, 24)), nil //nolint:gosec // written by our own qemu-img
}
