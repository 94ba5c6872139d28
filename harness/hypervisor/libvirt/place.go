package libvirt

import (
	"context"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// place is the machine that runs QEMU, as the home of a domain's files and the end of its guest's port. A spec names files
// of the host that patchlab runs on; QEMU may see them elsewhere.
type place interface {
	// checkReach tells in words what QEMU would only report as "Permission denied" on start.
	checkReach(spec hypervisor.DomainSpec) error
	// furnish makes the files of a domain. When it fails, it leaves nothing behind.
	furnish(ctx context.Context, spec hypervisor.DomainSpec) (furnished, error)
	// clear removes the files that end with their domain. It returns nil if they are gone already.
	clear(ctx context.Context, name string, mark metadata) error
	// attend is told that a domain has been started, leave that it is off. Afterwards its evidence is complete on the host
	// that patchlab runs on.
	attend(name string, mark metadata)
	leave(ctx context.Context, name string, mark metadata) error
	// reach returns where an address of that machine's loopback is reached from this host.
	reach(ctx context.Context, name, address string) (string, error)
	// describe says in sentences where files are, unless that is this host.
	describe() []string
	// close gives up what is open. Files stay.
	close()
}

// furnished is what a domain finds when it is defined.
type furnished struct {
	spec hypervisor.DomainSpec // with the names of files as QEMU sees them
	// firmware is the file with the code of an EFI domain's firmware, as QEMU sees it.
	firmware string
	// relabels tells that libvirt hands files to the user that QEMU runs as, by itself.
	relabels bool
	mark     metadata                        // what [place.clear] needs to know, also in another process
	undo     func(ctx context.Context) error // takes everything back, for a define that fails
}
