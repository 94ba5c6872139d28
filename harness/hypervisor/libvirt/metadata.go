package libvirt

import (
	"encoding/xml"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// namespace of the metadata that marks a domain as made by patchlab.
const namespace = "https://github.com/patchlab/patchlab/domain/1"

// metadata is written into each domain, so that whoever finds it knows where it belongs and what goes with it.
type metadata struct {
	XMLName xml.Name `xml:"https://github.com/patchlab/patchlab/domain/1 owner"`
	Run     string   `xml:"run,attr"`
	Dir     string   `xml:"dir,attr"`
	Overlay string   `xml:"overlay,attr,omitempty"` // the disk that Undefine removes
}

func newMetadata(spec hypervisor.DomainSpec) metadata {
	m := metadata{Run: spec.RunID, Dir: spec.RunDir}
	if spec.Disk.Backing != "" {
		m.Overlay = spec.Disk.Path
	}
	return m
}

func readMetadata(l *golibvirt.Libvirt, handle golibvirt.Domain) (metadata, error) {
	text, err := l.DomainGetMetadata(handle, int32(golibvirt.DomainMetadataElement), golibvirt.OptString{namespace}, 0)
	if err != nil {
		return metadata{}, err
	}
	// libvirt gives the element back without its namespace.
	var found struct {
		Run     string `xml:"run,attr"`
		Dir     string `xml:"dir,attr"`
		Overlay string `xml:"overlay,attr"`
	}
	if err := xml.Unmarshal([]byte(text), &found); err != nil {
		return metadata{}, fmt.Errorf("reading %q: %w", text, err)
	}
	return metadata{Run: found.Run, Dir: found.Dir, Overlay: found.Overlay}, nil
}
