package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/grub"
)

// kernels reads which kernel runs, which are installed, and which one the boot loader would start.
func kernels(ctx context.Context, src *Source) ([]fact.Fact, error) {
	installed, err := installedKernels(ctx, src)
	errs := []error{err}
	facts := installed
	release, err := src.read("/proc/sys/kernel/osrelease", maxSmall)
	if err != nil {
		errs = append(errs, fmt.Errorf("reading the running kernel: %w", err))
	} else {
		cmdline, err := src.read("/proc/cmdline", maxSmall)
		errs = append(errs, err)
		facts = append(facts, fact.Fact{Kind: fact.KindKernel, Name: "running", Attributes: map[string]string{
			"release": strings.TrimSpace(string(release)), "cmdline": strings.TrimSpace(string(cmdline)),
		}})
	}
	standard, err := defaultKernel(src)
	if err != nil {
		return facts, errors.Join(append(errs, err)...)
	}
	return append(facts, standard), errors.Join(errs...)
}

func installedKernels(ctx context.Context, src *Source) ([]fact.Fact, error) {
	entries, err := src.readDir("/boot")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("listing kernels: %w", err)
	}
	db, _ := src.packages(ctx) // its error is a note about packages already
	var facts []fact.Fact
	for _, entry := range entries {
		release, isKernel := strings.CutPrefix(entry.Name(), "vmlinuz-")
		if !isKernel || !entry.Type().IsRegular() {
			continue
		}
		attributes := map[string]string{"release": release, "image": "/boot/" + entry.Name()}
		for _, initrd := range []string{"/boot/initrd.img-" + release, "/boot/initramfs-" + release + ".img"} {
			if src.exists(initrd) {
				attributes["initrd"] = initrd
				break
			}
		}
		if db != nil {
			attributes["package"] = db.owners.of(attributes["image"])
		}
		facts = append(facts, fact.Fact{Kind: fact.KindKernel, Name: "installed:" + release, Attributes: attributes})
	}
	return facts, nil
}

// defaultKernel reads GRUB's configuration the way GRUB would on the next boot.
func defaultKernel(src *Source) (fact.Fact, error) {
	var config []byte
	var err error
	dir := ""
	for _, dir = range []string{"/boot/grub", "/boot/grub2"} {
		if config, err = src.read(dir+"/grub.cfg", maxDatabase); err == nil {
			break
		}
	}
	if err != nil {
		return fact.Fact{}, fmt.Errorf("finding the default kernel: no configuration of GRUB: %w", err)
	}
	environment, _ := src.read(dir+"/grubenv", maxSmall) // without one GRUB has no saved entry
	entry, err := grub.Parse(config).Choose(grub.ParseEnvironment(environment))
	if err != nil {
		return fact.Fact{}, fmt.Errorf("finding the default kernel: %w", err)
	}
	// A boot partition of its own has /vmlinuz-... where the running system sees /boot/vmlinuz-...
	image, initrd := bootPath(entry.Linux), bootPath(entry.Initrd)
	return fact.Fact{Kind: fact.KindKernel, Name: "default", Attributes: map[string]string{
		"release": strings.TrimPrefix(path.Base(image), "vmlinuz-"),
		"image":   image, "initrd": initrd, "cmdline": entry.Arguments, "entry": entry.Title,
	}}, nil
}

func bootPath(p string) string {
	if p == "" {
		return ""
	}
	return "/boot/" + path.Base(p)
}
