package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/images"
)

// imageImportOptions are the flags of `image import`.
type imageImportOptions struct {
	name     string
	firmware string
	memory   string
	vcpus    int
	user     string
	key      string
}

func newImageImportCommand(env *environment) *cobra.Command {
	var opts imageImportOptions
	cmd := &cobra.Command{
		Use:   "import FILE.qcow2 --name NAME",
		Short: "Make an image of a disk from elsewhere",
		Long: `Make an image of a qcow2 disk from elsewhere: the copy of a server, or a distribution's cloud image. The guest is booted to
find a way in, which is the first of these that works: a systemd credential (systemd 252 or newer, root may log in with a key),
cloud-init (a NoCloud seed), the private key that is given with --key. Each clone gets a key of its own by the same way; with
--key they share it. A user who is not root needs sudo without a password. What runs on the image will miss is said, and kept.

The file itself is never written to. What refers to other files of this host, is no qcow2 file or is damaged is refused.`,
		Example: `  patchlab image import debian-12-genericcloud-amd64.qcow2 --name cloud
  patchlab image import web1.qcow2 --name web1 --user admin --key ~/.ssh/lab --memory 2GiB`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return env.importImage(cmd.Context(), args[0], opts) },
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.name, "name", "", "name of the image (required)")
	flags.StringVar(&opts.firmware, "firmware", string(hypervisor.BIOS), "bios or efi")
	flags.StringVar(&opts.memory, "memory", "1GiB", "memory of each clone")
	flags.IntVar(&opts.vcpus, "vcpus", 1, "processors of each clone")
	flags.StringVar(&opts.user, "user", "root", "who logs in by cloud-init's seed or with the given key")
	flags.StringVar(&opts.key, "key", "", "private key `FILE`, without a passphrase, that the guest knows already")
	complete(cmd, "firmware", string(hypervisor.BIOS), string(hypervisor.EFI))
	return cmd
}

func (e *environment) importImage(ctx context.Context, file string, opts imageImportOptions) error {
	order, err := opts.order(file)
	if err != nil {
		return usage(err)
	}
	if err := image.CheckFile(order.File); err != nil {
		return usage(err)
	}
	builder := &image.Builder{Store: &image.Store{Dir: e.Dirs.Images}, Now: time.Now, Timeouts: timing.Default()}
	imported, err := e.importOn(ctx, builder, order)
	_, refused := errors.AsType[*image.RefusedError](err)
	_, unreachable := errors.AsType[*image.UnreachableError](err)
	if refused || unreachable {
		return usage(err) // of a file that cannot serve
	}
	if err != nil {
		return err
	}
	return e.renderImage(imported, "imported")
}

func (e *environment) importOn(ctx context.Context, builder *image.Builder, order image.ImportOrder) (imported image.Image, err error) {
	closeHost, err := e.prepareBuilder(ctx, builder, order.Name)
	if err != nil {
		return image.Image{}, err
	}
	defer func() { err = errors.Join(err, closeHost()) }()
	if imported, err = builder.Import(ctx, order); err == nil {
		e.knowFiles(ctx, imported, builder.Sink)
	}
	return imported, err
}

var userForm = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// order checks the flags, all of them at once.
func (o imageImportOptions) order(file string) (image.ImportOrder, error) {
	var wrong []error
	check := func(ok bool, format string, values ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, values...))
		}
	}
	if o.name == "" {
		check(false, "--name is missing: how shall the image be called?")
	} else if err := manifest.CheckName(o.name); err != nil {
		wrong = append(wrong, fmt.Errorf("--name: %w", err))
	}
	names, err := manifest.Names(images.FS)
	if err != nil {
		return image.ImportOrder{}, err
	}
	check(!slices.Contains(names, o.name), "--name: %s is what `patchlab image build` makes; choose another name", o.name)
	firmware := hypervisor.Firmware(o.firmware)
	check(firmware == hypervisor.BIOS || firmware == hypervisor.EFI, "--firmware: want bios or efi, not %q", o.firmware)
	var memory manifest.Size
	if err := memory.UnmarshalText([]byte(o.memory)); err != nil {
		wrong = append(wrong, fmt.Errorf("--memory: %w", err))
	}
	check(o.vcpus > 0, "--vcpus: want 1 or more, not %d", o.vcpus)
	check(userForm.MatchString(o.user), "--user: %q is no user's name", o.user)
	order := image.ImportOrder{
		Name: o.name, Firmware: firmware, MemoryMiB: memory.MiB(), VCPUs: o.vcpus, User: o.user,
		NewKey: imageKeyFor, HostKey: sshguest.HostKey,
	}
	if order.File, err = filepath.Abs(file); err != nil {
		return image.ImportOrder{}, fmt.Errorf("finding %s: %w", file, err)
	}
	if o.key != "" {
		if order.KeyFile, err = filepath.Abs(o.key); err != nil {
			return image.ImportOrder{}, fmt.Errorf("finding %s: %w", o.key, err)
		}
		if _, err := givenAccess(image.Access{KeyFile: order.KeyFile}); err != nil {
			wrong = append(wrong, fmt.Errorf("--key: %w", err))
		}
	}
	return order, errors.Join(wrong...)
}

// imageKeyFor gives an import's boots what runs give their clones.
func imageKeyFor(way image.Access) (image.Key, error) {
	access, err := newAccess(way, nil)
	return image.Key{AuthorizedKey: access.AuthorizedKey, Dialer: access.Dialer}, err
}

// renderLacks says below an image's table what runs on it will miss.
func renderLacks(w io.Writer, i image.Image) error {
	if i.Imported == nil || len(i.Imported.Lacks) == 0 {
		return nil
	}
	var text strings.Builder
	text.WriteString("\nMissing, compared with an image that patchlab built:\n")
	for _, lack := range i.Imported.Lacks {
		fmt.Fprintf(&text, "  - %s\n", lack)
	}
	_, err := io.WriteString(w, text.String())
	return err
}
