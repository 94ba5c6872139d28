package libvirt

import (
	"fmt"
	"os"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// ByHand is what a person needs to make a domain with virsh that is like one of [Driver.Define], on this host.
type ByHand struct {
	URI string // for virsh -c
	XML string // for virsh define; the metadata in it let gc find the domain and the files that go with it
	// Owner is whom the disk, the console and the EFI variables have to belong to; nil where that is the person or where libvirt
	// sees to it. All of them exist before the domain starts: nothing is made here.
	Owner *Owner
}

// ByHand describes the domain of a spec without making anything.
func (d *Driver) ByHand(spec hypervisor.DomainSpec) (ByHand, error) {
	act := fmt.Sprintf("describing domain %q", spec.Name)
	home, here := d.place.(local)
	if !here {
		return ByHand{}, fmt.Errorf("%s: its libvirt is on another machine", act)
	}
	if err := check(spec); err != nil {
		return ByHand{}, fmt.Errorf("%s: %w", act, err)
	}
	firmware, err := findFirmware(spec, sizeBy(os.Stat))
	if err != nil {
		return ByHand{}, fmt.Errorf("%s: %w", act, err)
	}
	text, err := domainXML(furnished{
		spec: spec, firmware: firmware.Code, relabels: d.guard.owner != nil, mark: newMetadata(spec),
	})
	if err != nil {
		return ByHand{}, err
	}
	return ByHand{URI: d.uri, XML: text, Owner: home.owner}, nil
}
