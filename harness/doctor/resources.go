package doctor

import (
	"context"
	"fmt"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// What a run needs, measured with debian-12-web (768 MiB of memory).
const (
	// QEMU takes 1.1 GiB for a guest of 768 MiB under emulation.
	leastMemory = 1200 * mib
	// A build has the packages' directory, the file system made of it and the compressed disk at a time: 3 GiB. The
	// image takes 0.9 GiB in the end.
	leastImageSpace = 4 * gib
	// An overlay grows to some hundred MiB in a run, and goes with it.
	leastRunSpace = 1 * gib
	// Below this many times the least, things work until something else needs the same.
	comfortable = 2
)

func (h Host) memory() Check {
	const name = "memory"
	available, err := h.AvailableMemory()
	if err != nil {
		return Check{Name: name, Status: Warn, Detail: err.Error()}
	}
	return measure(name, fmt.Sprintf("%s available", size(available)), available, leastMemory,
		fmt.Sprintf("a clone takes %s: end something, or add memory", size(leastMemory)))
}

func space(name, dir string, least uint64, free func(string) (uint64, error)) Check {
	available, err := free(dir)
	if err != nil {
		return Check{Name: name, Status: Fail, Detail: err.Error()}
	}
	return measure(name, fmt.Sprintf("%s free in %s", size(available), dir), available, least,
		fmt.Sprintf("%s are needed: make room in %s, or choose another place", size(least), dir))
}

// measure judges an amount by the least that is needed.
func measure(name, detail string, available, least uint64, remedy string) Check {
	check := Check{Name: name, Status: OK, Detail: detail}
	switch {
	case available < least:
		check.Status, check.Remedy = Fail, remedy
	case available < comfortable*least:
		check.Status, check.Remedy = Warn, remedy
	}
	return check
}

func size(bytes uint64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/gib) }

// keyring verifies what an image is made of.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// imageTools are what `image build` needs.
func (h Host) imageTools(ctx context.Context) []Check {
	checks := []Check{
		h.program(ctx, "mmdebstrap", "mmdebstrap"),
		h.present("mke2fs", "e2fsprogs"),
		h.program(ctx, "sfdisk", "fdisk"),
		h.archiveKeyring(),
	}
	if h.Root {
		return checks
	}
	return append(checks, h.present("newuidmap", "uidmap"), h.subordinateIDs(), h.userNamespaces(ctx))
}

// present looks for a program that tells no version.
func (h Host) present(name, pkg string) Check {
	path, found := h.Find(name)
	if !found {
		return Check{Name: name, Status: Fail, Detail: "not installed", Packages: []string{pkg}}
	}
	return Check{Name: name, Status: OK, Detail: path}
}

func (h Host) archiveKeyring() Check {
	const name = "Debian's keys"
	if !h.Exists(keyring) {
		return Check{Name: name, Status: Fail, Detail: "not installed", Packages: []string{"debian-archive-keyring"}}
	}
	return Check{Name: name, Status: OK, Detail: keyring}
}

// Without root, an image's files belong to ids that the kernel maps into a namespace.
func (h Host) subordinateIDs() Check {
	check := Check{Name: "subordinate ids", Status: OK, Detail: "in /etc/subuid and /etc/subgid"}
	has, err := h.HasSubordinateIDs()
	if err != nil {
		check.Status, check.Detail = Fail, err.Error()
	} else if !has {
		check.Status, check.Detail = Fail, "you have none in /etc/subuid or /etc/subgid"
	}
	if check.Status != OK {
		check.Remedy = "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
	}
	return check
}

func (h Host) userNamespaces(ctx context.Context) Check {
	check := Check{Name: "user namespaces", Status: OK, Detail: "allowed"}
	const remedy = "allow them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), or build images as root"
	path, found := h.Find("unshare")
	if !found {
		return Check{Name: check.Name, Status: Fail, Detail: "unshare is not installed", Packages: []string{"util-linux"}}
	}
	if _, err := h.Output(ctx, path, "--user", "--map-root-user", "true"); err != nil {
		check.Status, check.Detail, check.Remedy = Fail, fmt.Sprintf("refused: %v", err), remedy
	}
	return check
}
