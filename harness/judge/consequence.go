package judge

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
)

// generated are files that package triggers and account tools rewrite: not owned, and no configuration of anybody. They follow from
// whichever package moved.
var generated = []struct {
	name   *regexp.Regexp
	reason string
}{
	{exactly(`/etc/ld.so.cache`), "rebuilt by ldconfig after a library moved"},
	{exactly(`/etc/.pwd.lock`), "lock of the account tools"},
	{exactly(`/etc/passwd`, `/etc/group`, `/etc/gshadow`), "told by its accounts"},
	{exactly(`/etc/passwd-`, `/etc/group-`, `/etc/shadow-`, `/etc/gshadow-`, `/etc/subuid-`, `/etc/subgid-`), "backup by the account tools"},
	{exactly(`/etc/mailcap`), "rebuilt by update-mime"},
	{exactly(`/usr/lib/udev/hwdb.bin`, `/lib/udev/hwdb.bin`, `/etc/udev/hwdb.bin`), "rebuilt by systemd-hwdb"},
	{exactly(`/usr/lib/locale/locale-archive`), "rebuilt by locale-gen"},
	{exactly(`/usr/share/info/dir`, `/usr/share/info/dir.old`), "rebuilt by install-info"},
	{exactly(`/usr/share/glib-2.0/schemas/gschemas.compiled`), "rebuilt by glib-compile-schemas"},
	{exactly(`/usr/share/applications/mimeinfo.cache`), "rebuilt by update-desktop-database"},
	{regexp.MustCompile(`^/usr/share/mime/([^/]+/[^/]+\.xml|[^/]+)$`), "rebuilt by update-mime-database"},
	{regexp.MustCompile(`^/usr/share/icons/[^/]+/\.?icon-theme\.cache$`), "rebuilt by update-icon-caches"},
	{regexp.MustCompile(`^/usr/lib/[^/]+/gio/modules/giomodule\.cache$`), "rebuilt by gio-querymodules"},
	{regexp.MustCompile(`^/usr/lib/[^/]+/gdk-pixbuf-2\.0/[^/]+/loaders\.cache$`), "rebuilt by gdk-pixbuf-query-loaders"},
	{regexp.MustCompile(`^/usr/lib/[^/]+/gtk-[234]\.0/[^/]+/immodules\.cache$`), "rebuilt by gtk-query-immodules"},
	{regexp.MustCompile(`^/usr/lib/[^/]+/gconv/gconv-modules\.cache$`), "rebuilt by iconvconfig"},
	{regexp.MustCompile(`^/usr/share/fonts/.*/(\.uuid|fonts\.(dir|scale|alias)|encodings\.dir)$`), "rebuilt for the fonts of a directory"},
}

func exactly(names ...string) *regexp.Regexp {
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, regexp.QuoteMeta(name))
	}
	return regexp.MustCompile("^(" + strings.Join(quoted, "|") + ")$")
}

var (
	initrd     = regexp.MustCompile(`^/boot/init(?:rd\.img|ramfs)-(.+?)(?:\.img)?(?:\.dpkg-bak|\.old-dkms)?$`)
	kernelLink = regexp.MustCompile(`^(?:/boot)?/(?:vmlinuz|initrd\.img)(?:\.old)?$`)
	moduleList = regexp.MustCompile(`^/usr/lib/modules/([^/]+)/modules\.[a-z.]+$`)
	bootLoader = regexp.MustCompile(`^(?:/boot/grub2?/|/boot/efi/EFI/)`)
	grubConfig = regexp.MustCompile(`^/boot/grub2?/grub\.cfg$`)
	byteCode   = regexp.MustCompile(`^(.*)/__pycache__/([^/]+?)\.(?:cpython|pypy)-[^/.]+(?:\.opt-[12])?\.pyc$`)
	dpkgInfo   = regexp.MustCompile(`^/var/lib/dpkg/info/([^/:]+?)(?::[^/.]+)?\.[a-z0-9]+$`)
)

// consequence recognises what is made anew because a package moved. Each rule says of which package, where one can be named: what
// nothing moved is for the others to judge.
func (h *hearing) consequence(d drift.Drift) (_ ruling, ok bool) {
	if len(h.moved) == 0 {
		return ruling{}, false
	}
	name := d.Key.Name
	for _, g := range generated {
		if g.name.MatchString(name) {
			return expected(g.reason), true
		}
	}
	if m := dpkgInfo.FindStringSubmatch(name); m != nil && h.ownerMoved(m[1]) {
		return expected("what dpkg knows of " + m[1] + ", which the candidate moved"), true
	}
	if m := byteCode.FindStringSubmatch(name); m != nil {
		if owner := h.ownerOf(fact.Key{Kind: fact.KindFile, Name: m[1] + "/" + m[2] + ".py"}); owner != "" {
			return expected("byte code of a file of " + PackageName(owner)), true
		}
	}
	if r, ok := h.bootConsequence(d); ok {
		return r, true
	}
	return h.alternative(d)
}

// bootConsequence knows what belongs to a kernel, and what the boot loader makes of it.
func (h *hearing) bootConsequence(d drift.Drift) (_ ruling, ok bool) {
	name := d.Key.Name
	if m := initrd.FindStringSubmatch(name); m != nil && (d.Change == drift.Changed || h.kernelMoved(m[1])) {
		return expected("rebuilt by update-initramfs"), true
	}
	if m := moduleList.FindStringSubmatch(name); m != nil && h.kernelMoved(m[1]) {
		return expected("rebuilt by depmod for the kernel " + m[1]), true
	}
	switch {
	case kernelLink.MatchString(name) && h.kernelMoved(""):
		return expected("names the kernel that the candidate moved"), true
	case grubConfig.MatchString(name) && h.kernelMoved(""):
		return expected("rebuilt by update-grub for the kernel that the candidate moved"), true
	case bootLoader.MatchString(name) && h.anyMoved("grub-", "grub2-", "shim-"):
		return expected("installed with the boot loader that the candidate moved"), true
	}
	return ruling{}, false
}

// kernelMoved tells whether the candidate moved the kernel of a release, any kernel for "".
func (h *hearing) kernelMoved(release string) bool {
	for pkg := range h.moved {
		isKernel := strings.HasPrefix(pkg, "linux-image") || strings.HasPrefix(pkg, "linux-modules") || strings.HasPrefix(pkg, "kernel")
		if isKernel && (release == "" || strings.Contains(pkg, release)) {
			return true
		}
	}
	return release != "" && h.ownerMoved(h.ownerOf(fact.Key{Kind: fact.KindFile, Name: "/boot/vmlinuz-" + release}))
}

func (h *hearing) anyMoved(prefixes ...string) bool {
	for pkg := range h.moved {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(pkg, p) }) {
			return true
		}
	}
	return false
}

// alternative: the links that update-alternatives makes for a program of a package that comes or goes, and those that lead to them.
// That one program takes the place of another is told.
func (h *hearing) alternative(d drift.Drift) (_ ruling, ok bool) {
	target := d.Is["target"]
	if d.Change == drift.Removed {
		target = d.Was["target"]
	}
	if target == "" || d.Change == drift.Changed {
		return ruling{}, false
	}
	if key := (fact.Key{Kind: fact.KindFile, Name: target}); path.Dir(target) == "/etc/alternatives" {
		_, drifted := h.drifts[key]
		return follows(key), drifted
	}
	if path.Dir(d.Key.Name) != "/etc/alternatives" {
		return ruling{}, false
	}
	for _, candidate := range []string{target, "/usr" + target} {
		if owner := h.ownerOf(fact.Key{Kind: fact.KindFile, Name: candidate}); h.ownerMoved(owner) {
			return expected("alternative of " + PackageName(owner) + ", which the candidate moved"), true
		}
	}
	return ruling{}, false
}
