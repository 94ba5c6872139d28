package libvirt

import (
	"encoding/xml"
	"fmt"
	"slices"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// namespace of the metadata that marks a domain as made by patchlab.
const namespace = "https://github.com/patchlab/patchlab/domain/1"

// metadata is written into each domain, so that whoever finds it knows where it belongs and what goes with it.
type metadata struct {
	Run       string `xml:"run,attr"`
	Dir       string `xml:"dir,attr"`
	Overlay   string `xml:"overlay,attr,omitempty"`   // the disk that Undefine removes
	Variables string `xml:"variables,attr,omitempty"` // the same of the EFI variables
	Memory    string `xml:"memory,attr,omitempty"`    // the file with its RAM, which stays
	// Checkpoints is the directory with its checkpoints, which go with it.
	Checkpoints string `xml:"checkpoints,attr,omitempty"`

	// Of a domain on another machine than patchlab's, see [distant]. Client is who made it; Home is its directory there;
	// the others are files of the client: the console and how much of it an earlier domain wrote, and a disk that stays.
	Client      string `xml:"client,attr,omitempty"`
	Home        string `xml:"home,attr,omitempty"`
	Console     string `xml:"console,attr,omitempty"`
	ConsoleBase int64  `xml:"console-base,attr,omitempty"`
	Disk        string `xml:"disk,attr,omitempty"`
}

// element renders the metadata for a domain's XML.
func (m metadata) element() (string, error) {
	text, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"https://github.com/patchlab/patchlab/domain/1 owner"`
		metadata
	}{metadata: m})
	return string(text), err
}

// files are those of this host that go with the domain.
func (m metadata) files() files {
	return slices.DeleteFunc(files{m.Overlay, m.Variables}, func(path string) bool { return path == "" })
}

func newMetadata(spec hypervisor.DomainSpec) metadata {
	m := metadata{
		Run: spec.RunID, Dir: spec.RunDir, Variables: spec.Variables.Path, Memory: spec.Memory, Checkpoints: spec.Checkpoints,
	}
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
	var found metadata
	if err := xml.Unmarshal([]byte(text), &found); err != nil {
		return metadata{}, fmt.Errorf("reading %q: %w", text, err)
	}
	return found, nil
}
