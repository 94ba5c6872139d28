package image

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/mirror"
)

// What runs in the root directory while mmdebstrap works, and in the guest at its first boot.
var (
	//go:embed hooks/early.sh
	earlyHook string
	//go:embed hooks/late.sh
	lateHook string
	//go:embed hooks/bootloader.sh
	biosLoaderScript string
	//go:embed hooks/bootloader-efi.sh
	efiLoaderScript string
	//go:embed hooks/leave.sh
	leaveScript string
	//go:embed hooks/adopted.sh
	adoptedScript string
	//go:embed hooks/survey.sh
	surveyScript string
	//go:embed hooks/vagrant.sh
	vagrantScript string
)

// keyring verifies the packages; it is in the package debian-archive-keyring.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// basePackages are in every image: what boots, has a network and lets patchlab in.
func basePackages(firmware hypervisor.Firmware) []string {
	packages := []string{
		"dbus", "e2fsprogs", "grub-pc", "ifupdown", "initramfs-tools", "iproute2", "isc-dhcp-client", "kmod", "libpam-systemd",
		"linux-image-amd64", "netbase", "openssh-server", "procps", "systemd", "systemd-sysv", "udev", "zstd",
	}
	if firmware == hypervisor.EFI {
		packages[slices.Index(packages, "grub-pc")] = "grub-efi-amd64"
		packages = append(packages, "dosfstools", "efibootmgr")
	}
	return packages
}

// loaderScript installs the boot loader, in the guest.
func loaderScript(firmware hypervisor.Firmware) string {
	if firmware == hypervisor.EFI {
		return efiLoaderScript
	}
	return biosLoaderScript
}

// recipe is one build's input.
type recipe struct {
	manifest manifest.Manifest
	mirror   mirror.Mirror
	fsUUID   string
}

// Recipe returns the digest of everything in patchlab that decides what an image of the manifest is like. An image with
// another one is out of date.
func Recipe(m manifest.Manifest) string {
	hash := sha256.New()
	// Writes to a hash never fail, and a manifest has nothing that JSON cannot hold.
	text, _ := json.Marshal(m)
	_, _ = fmt.Fprintf(hash, "%s\n%q\n", text, basePackages(m.Firmware))
	for _, hook := range []string{earlyHook, lateHook, loaderScript(m.Firmware), leaveScript} {
		_, _ = fmt.Fprintf(hash, "%q\n", hook)
	}
	r := recipe{manifest: m}
	for _, f := range slices.Concat(earlyFiles(), r.lateFiles()) {
		_, _ = fmt.Fprintf(hash, "%q %o %s %q\n", f.path, f.mode, f.owner, f.content)
	}
	if m.Firmware == hypervisor.EFI { // the other layout has never been another
		_, _ = fmt.Fprintf(hash, "%q\n", layoutOf(m).table)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// mmdebstrapArguments are the arguments after the program's name. An ordinary user calls it in a user namespace whose root
// he is, see [confine].
func (r recipe) mmdebstrapArguments() []string {
	arguments := []string{
		"--mode=root", "--variant=apt",
		// The hook writes the disk, and it has cleaned up better than mmdebstrap would after it.
		"--format=null", "--skip=cleanup",
		"--architectures=amd64",
		"--keyring=" + keyring,
		"--include=" + strings.Join(r.packages(), ","),
		// These are taken out of the image again by the hook.
		"--aptopt=APT::Install-Recommends \"false\"",
		"--aptopt=Acquire::Retries \"3\"",
		"--aptopt=Acquire::http::Timeout \"20\"",
		"--dpkgopt=force-unsafe-io",
		"--essential-hook=" + earlyHook,
		"--customize-hook=" + lateHook,
		r.manifest.Release, "/dev/null",
	}
	return append(arguments, r.sources(r.mirror.Main, r.mirror.Security)...)
}

// environment is what the hooks read.
func (r recipe) environment(exchange string) []string {
	disk := layoutOf(r.manifest)
	return []string{
		"PATCHLAB_EXCHANGE=" + exchange,
		"PATCHLAB_UUID=" + r.fsUUID,
		fmt.Sprintf("PATCHLAB_OFFSET=%d", disk.offset),
		fmt.Sprintf("PATCHLAB_SIZE=%d", disk.size>>10),
	}
}

func (r recipe) packages() []string {
	all := slices.Concat(basePackages(r.manifest.Firmware), r.manifest.Packages)
	slices.Sort(all)
	return slices.Compact(all)
}

// sources are the lines of sources.list for the manifest's pockets.
func (r recipe) sources(main, security string) []string {
	var lines []string
	for _, pocket := range r.manifest.Pockets {
		base, suite := main, r.manifest.Release+"-"+string(pocket)
		switch pocket {
		case manifest.Release:
			suite = r.manifest.Release
		case manifest.Security:
			base = security
		case manifest.Updates, manifest.Backports:
		}
		lines = append(lines, fmt.Sprintf("deb %s %s main", base, suite))
	}
	return lines
}

// rootFile is a file of the image.
type rootFile struct {
	path    string // absolute
	mode    int64
	owner   string // USER:GROUP
	content string
}

// earlyFiles are there before the kernel is installed.
func earlyFiles() []rootFile {
	return []rootFile{
		{"/etc/initramfs-tools/conf.d/patchlab", 0o644, "root:root", "MODULES=list\nCOMPRESS=zstd\n"},
		// A hook, because /etc/initramfs-tools/modules belongs to a package that is not unpacked yet.
		{"/etc/initramfs-tools/hooks/patchlab", 0o755, "root:root", `#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
for module in virtio_pci virtio_blk virtio_net ext4; do force_load "$module"; done
`},
	}
}

// lateFiles are put in when all packages are installed.
func (r recipe) lateFiles() []rootFile {
	files := []rootFile{
		{"/etc/fstab", 0o644, "root:root", "UUID=" + r.fsUUID + " / ext4 errors=remount-ro 0 1\n"},
		{"/etc/hostname", 0o644, "root:root", "debian\n"},
		{"/etc/hosts", 0o644, "root:root", "127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
		{"/etc/network/interfaces", 0o644, "root:root", "source /etc/network/interfaces.d/*\n\n" +
			"auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n"},
		{"/etc/apt/sources.list", 0o644, "root:root", strings.Join(r.sources(mirror.AliasMain, mirror.AliasSecurity), "\n") + "\n"},
		{"/etc/default/grub", 0o644, "root:root", `GRUB_DEFAULT=0
GRUB_TIMEOUT=1
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0 net.ifnames=0"
GRUB_TERMINAL="console serial"
GRUB_DISABLE_OS_PROBER=true
`},
	}
	for _, f := range r.manifest.Files {
		mode, _ := strconv.ParseInt(f.Mode, 8, 64) // validated by the manifest
		files = append(files, rootFile{f.To, mode, f.Owner, string(f.Content)})
	}
	return files
}
