package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/timing"
)

// The forms of an export.
const (
	formatQCOW2   = "qcow2"
	formatVagrant = "vagrant"
)

func newImageExportCommand(env *environment) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "export NAME FILE",
		Short: "Write an image to a file that stands alone, as a disk or as a Vagrant box",
		Long: `Write an image to a file that stands alone: a compressed qcow2 disk, or a box for Vagrant with libvirt. For a box a clone is
booted, in which the user vagrant is made, with sudo and with the public key that everybody has: Vagrant puts one of its own in
that key's place at the first ` + "`vagrant up`" + `. What is exported has the image's host keys, and package sources that point at
an alias of patchlab's: write your own into it.`,
		Example: `  patchlab image export debian-12-web web.qcow2
  patchlab image export debian-12-web web.box --format vagrant && vagrant box add --name web web.box`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return completeImages(env)(cmd, args, start)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{formatQCOW2, formatVagrant}, format) {
				return usage(fmt.Errorf("--format: want qcow2 or vagrant, not %q", format))
			}
			return env.exportImage(cmd.Context(), args[0], args[1], format)
		},
	}
	cmd.Flags().StringVar(&format, "format", formatQCOW2, "what to write: qcow2 or vagrant")
	complete(cmd, "format", formatQCOW2, formatVagrant)
	return cmd
}

func (e *environment) exportImage(ctx context.Context, name, file, format string) (err error) {
	store := &image.Store{Dir: e.Dirs.Images}
	found, err := image.Open(ctx, store, name)
	if err != nil {
		return notBuiltIsUsage(err)
	}
	release, err := store.Hold(found)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if file, err = filepath.Abs(file); err != nil {
		return fmt.Errorf("finding %s: %w", file, err)
	}
	var exported image.Exported
	if format == formatVagrant {
		exported, err = e.exportBox(ctx, store, found, file)
	} else {
		exported, err = image.ExportDisk(ctx, found, file)
	}
	if errors.Is(err, image.ErrFileExists) {
		return usage(err)
	}
	if err != nil {
		return err
	}
	return e.renderExported(exported)
}

// exportBox opens the host for the clone in which the box is made.
func (e *environment) exportBox(ctx context.Context, store *image.Store, found image.Image, file string) (exported image.Exported, err error) {
	builder := &image.Builder{Store: store, Now: time.Now, Timeouts: timing.Default()}
	closeHost, err := e.prepareBuilder(ctx, builder, found.Name)
	if err != nil {
		return image.Exported{}, err
	}
	defer func() { err = errors.Join(err, closeHost()) }()
	return builder.ExportBox(ctx, found, file, imageKeyFor)
}

func (e *environment) renderExported(exported image.Exported) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%d MiB) is %s %s\n", exported.File, exported.Size>>20, exported.Image, exported.Digest[:min(12, len(exported.Digest))])
	for _, note := range exported.Notes {
		fmt.Fprintf(&b, "  - %s\n", note)
	}
	return e.render(exported, text(b.String()))
}
