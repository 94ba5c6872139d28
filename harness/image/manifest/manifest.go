// Package manifest reads image manifests: what a guest's image is made of, in YAML of schema 1.
//
// A manifest NAME.yaml has its files beside it in the directory NAME/. It may stand on another one (base), whose values and
// files it has where it says nothing itself. All mistakes are reported together with line and column.
package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/strictyaml"
)

// ErrUnknown is wrapped when there is no manifest of a name.
var ErrUnknown = errors.New("unknown image")

// Manifest describes an image.
type Manifest struct {
	Schema       int                 `yaml:"schema" json:"schema"`             // 1
	Name         string              `yaml:"name" json:"name"`                 // the file's name without .yaml
	Base         string              `yaml:"base" json:"-"`                    // the manifest that has what this one lacks; default none
	Distribution string              `yaml:"distribution" json:"distribution"` // debian
	Release      string              `yaml:"release" json:"release"`           // bookworm
	Pockets      []Pocket            `yaml:"pockets" json:"pockets"`           // default [release]
	Firmware     hypervisor.Firmware `yaml:"firmware" json:"firmware"`         // default bios
	Disk         Size                `yaml:"disk" json:"disk"`                 // default 3GiB
	Memory       Size                `yaml:"memory" json:"memory"`             // default 768MiB
	VCPUs        int                 `yaml:"vcpus" json:"vcpus"`               // default 1
	Packages     []string            `yaml:"packages" json:"packages"`         // beside those that every image has
	Files        []File              `yaml:"files" json:"files"`
	Setup        string              `yaml:"setup" json:"setup"`       // a file in NAME/, run once in the guest as root; default none
	Services     []string            `yaml:"services" json:"services"` // units that must be active when the guest has settled

	// SetupScript is the content of the file that Setup names.
	SetupScript []byte `yaml:"-" json:"setup_script"`
}

// File is put into the image.
type File struct {
	From  string `yaml:"from" json:"from"`   // in NAME/
	To    string `yaml:"to" json:"to"`       // absolute
	Mode  string `yaml:"mode" json:"mode"`   // octal, default "0644"
	Owner string `yaml:"owner" json:"owner"` // USER:GROUP, default root:root

	Content []byte `yaml:"-" json:"content"`
}

// Pocket is a part of a release's archive.
type Pocket string

// The pockets. An image of the release pocket alone is one to which updates are pending.
const (
	Release   Pocket = "release"
	Updates   Pocket = "updates"
	Security  Pocket = "security"
	Backports Pocket = "backports"
)

// Pockets returns all of them.
func Pockets() []Pocket { return []Pocket{Release, Updates, Security, Backports} }

// Releases returns the releases whose guests can be handed a key as patchlab does it: systemd reads credentials from
// SMBIOS since 252.
func Releases() []string { return []string{"bookworm", "trixie"} }

// Load reads the manifest of a name from a directory of manifests.
func Load(directory fs.FS, name string) (Manifest, error) { return load(directory, name, false) }

func load(directory fs.FS, name string, isBase bool) (Manifest, error) {
	if !nameForm.MatchString(name) {
		return Manifest{}, fmt.Errorf("%w %q: a name has lower-case letters, digits and dashes", ErrUnknown, name)
	}
	file := name + ".yaml"
	data, err := fs.ReadFile(directory, file)
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, unknown(directory, name)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("reading the manifest of %s: %w", name, err)
	}
	return parse(file, data, directory, isBase)
}

func unknown(directory fs.FS, name string) error {
	names, err := Names(directory)
	if err != nil {
		return err
	}
	hint := ""
	if near, ok := strictyaml.Nearest(name, names); ok {
		hint = fmt.Sprintf("did you mean %q? ", near)
	}
	return fmt.Errorf("%w %q (%shave %s)", ErrUnknown, name, hint, strings.Join(names, ", "))
}

// Names lists the manifests of a directory, sorted.
func Names(directory fs.FS) ([]string, error) {
	files, err := fs.Glob(directory, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("listing manifests: %w", err)
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(path.Base(file), ".yaml")
	}
	slices.Sort(files)
	return files, nil
}

// Parse reads a manifest. file names it in messages and must agree with its name; directory holds the directory of its files,
// and the manifests that it may stand on.
func Parse(file string, data []byte, directory fs.FS) (Manifest, error) {
	return parse(file, data, directory, false)
}

func parse(file string, data []byte, directory fs.FS, isBase bool) (Manifest, error) {
	var m Manifest
	document, problems := strictyaml.Decode(file, data, &m)
	if document == nil {
		return Manifest{}, problems.Err()
	}
	payload, err := payload(file, directory)
	if err != nil {
		return Manifest{}, fmt.Errorf("reading the files of %s: %w", file, err)
	}
	switch {
	case m.Base != "" && isBase:
		document.Problemf("base", "%v", errChain)
		return Manifest{}, document.Err()
	case m.Base != "":
		base, found := m.loadBase(document, directory)
		if !found {
			return Manifest{}, document.Err() // what the base would have given is not missing
		}
		m.inherit(document, base)
	}
	m.setDefaults()
	m.validate(document, strings.TrimSuffix(path.Base(file), ".yaml"))
	m.read(document, payload)
	if err := document.Err(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

func (m *Manifest) setDefaults() {
	if len(m.Pockets) == 0 {
		m.Pockets = []Pocket{Release}
	}
	if m.Firmware == "" {
		m.Firmware = hypervisor.BIOS
	}
	if m.Disk == 0 {
		m.Disk = 3 << 10
	}
	if m.Memory == 0 {
		m.Memory = 768
	}
	if m.VCPUs == 0 {
		m.VCPUs = 1
	}
	for i := range m.Files {
		if m.Files[i].Mode == "" {
			m.Files[i].Mode = "0644"
		}
		if m.Files[i].Owner == "" {
			m.Files[i].Owner = "root:root"
		}
	}
}

// read loads the contents of the files that the manifest names itself.
func (m *Manifest) read(d *strictyaml.Document, payload fs.FS) {
	for i := range m.Files {
		if !d.Has("files") {
			break
		}
		m.Files[i].Content = readPayload(d, fmt.Sprintf("files[%d].from", i), m.Files[i].From, payload)
	}
	if m.Setup != "" && d.Has("setup") {
		m.SetupScript = readPayload(d, "setup", m.Setup, payload)
	}
}

func readPayload(d *strictyaml.Document, at, name string, payload fs.FS) []byte {
	if name == "" {
		d.Problemf(at, "want a file beside the manifest")
		return nil
	}
	if !fs.ValidPath(name) {
		d.Problemf(at, "%q leaves the manifest's directory", name)
		return nil
	}
	content, err := fs.ReadFile(payload, name)
	if err != nil {
		d.Problemf(at, "no such file in the manifest's directory: %q", name)
	}
	return content
}
