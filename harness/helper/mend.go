package helper

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/grub"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// Mend is a line of shell that mends what is known to keep a system from booting.
type Mend struct {
	Why  string // what is wrong, in a sentence
	Line string
}

// Shell runs a line in the opened system and returns its output, or an error if it exits with anything but 0.
type Shell func(ctx context.Context, line string) (string, error)

// Mends looks for what is known to keep a system from booting, and returns what mends it, in the order in which it is to be run:
// lines of the file system table that nothing answers to, kernels without an initrd, a boot menu that leads nowhere. It changes
// nothing. A system in which nothing of that is found has none.
func Mends(ctx context.Context, shell Shell) ([]Mend, error) {
	mends, err := mendTable(ctx, shell)
	if err != nil {
		return nil, fmt.Errorf("looking at the file system table: %w", err)
	}
	kernels, err := listKernels(ctx, shell)
	if err != nil {
		return nil, fmt.Errorf("looking at the kernels: %w", err)
	}
	for _, k := range kernels {
		if k.modules && !k.initrd {
			mends = append(mends, Mend{
				Why:  fmt.Sprintf("kernel %s has no initrd", k.release),
				Line: "update-initramfs -c -k " + quote(k.release),
			})
		}
	}
	why, err := menuFault(ctx, shell, kernels)
	if err != nil {
		return nil, fmt.Errorf("looking at the boot menu: %w", err)
	}
	if why != "" {
		mends = append(mends, Mend{Why: why, Line: "update-grub"})
	}
	return mends, nil
}

// needless are the file systems whose source is no disk, or not one that a boot waits for.
var needless = []string{"tmpfs", "proc", "sysfs", "devpts", "nfs", "nfs4", "cifs", "overlay", "swap", "none", "9p", "virtiofs"}

// mendTable finds the lines whose disk is not there, and without which systemd does not go on.
func mendTable(ctx context.Context, shell Shell) ([]Mend, error) {
	table, err := shell(ctx, "cat /etc/fstab")
	if err != nil {
		return nil, err
	}
	var mends []Mend
	number := 0
	for line := range strings.Lines(table) {
		number++
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || slices.Contains(needless, fields[2]) || fields[1] == "/" {
			continue
		}
		if len(fields) > 3 && slices.ContainsFunc(strings.Split(fields[3], ","), func(o string) bool {
			return slices.Contains([]string{"noauto", "nofail", "bind", "_netdev"}, o)
		}) {
			continue
		}
		// In a condition, so that an exit code other than 0 is a failure to ask; and a system that cannot tell has not said that it is gone.
		said, err := shell(ctx, "if command -v findfs >/dev/null && ! findfs "+quote(strings.Trim(fields[0], `"`))+" >/dev/null 2>&1; then echo gone; fi")
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(said) == "gone" {
			mends = append(mends, Mend{
				Why:  fmt.Sprintf("line %d of /etc/fstab mounts %s, and no disk answers to %s", number, protocol.Clean(fields[1]), protocol.Clean(fields[0])),
				Line: fmt.Sprintf("sed -i '%ds/^/#/' /etc/fstab", number),
			})
		}
	}
	return mends, nil
}

// kernel is one that is installed.
type kernel struct {
	release         string
	modules, initrd bool
}

const listing = `for k in /boot/vmlinuz-*; do
  r=${k#/boot/vmlinuz-}; test -s "$k" || continue
  m=-; test -e "/lib/modules/$r/modules.dep" && m=modules
  i=-; test -s "/boot/initrd.img-$r" && i=initrd
  echo "$r $m $i"
done`

func listKernels(ctx context.Context, shell Shell) ([]kernel, error) {
	listed, err := shell(ctx, listing)
	if err != nil {
		return nil, err
	}
	var kernels []kernel
	for line := range strings.Lines(listed) {
		if fields := strings.Fields(line); len(fields) == 3 {
			kernels = append(kernels, kernel{release: fields[0], modules: fields[1] == "modules", initrd: fields[2] == "initrd"})
		}
	}
	return kernels, nil
}

// menuFault says why the boot loader does not start a kernel that is there, with an initrd that will be; "" if it does.
func menuFault(ctx context.Context, shell Shell, kernels []kernel) (string, error) {
	config, err := shell(ctx, "test ! -e /boot/grub/grub.cfg || cat /boot/grub/grub.cfg")
	if err != nil {
		return "", err
	}
	environment, err := shell(ctx, "test ! -e /boot/grub/grubenv || cat /boot/grub/grubenv")
	if err != nil {
		return "", err
	}
	if len(kernels) == 0 {
		return "", nil // no menu helps
	}
	entry := chosenEntry(config, environment)
	if entry.Linux == "" {
		return "the boot menu starts nothing", nil
	}
	name := protocol.Clean(path.Base(entry.Linux))
	i := slices.IndexFunc(kernels, func(k kernel) bool { return "vmlinuz-"+k.release == path.Base(entry.Linux) })
	switch {
	case i < 0:
		return "the boot menu starts " + name + ", which is not there", nil
	case !kernels[i].modules:
		return "", nil // nor here
	case path.Base(entry.Initrd) != "initrd.img-"+kernels[i].release:
		return "the boot menu starts " + name + " without its initrd", nil
	}
	return "", nil
}

// chosenEntry is what starts when nobody touches a key; an empty one if nothing does.
func chosenEntry(config, environment string) grub.Entry {
	entry, err := grub.Parse([]byte(config)).Choose(grub.ParseEnvironment([]byte(environment)))
	if err != nil {
		return grub.Entry{}
	}
	return *entry
}

// quote makes one word of the shell's of a text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
