package manifest

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/patchlab/patchlab/harness/strictyaml"
)

// errChain refuses a base of a base: of what an image consists must be seen in two files.
var errChain = errors.New("a manifest that others stand on may not stand on one itself")

// loadBase reads the manifest that m stands on.
func (m *Manifest) loadBase(d *strictyaml.Document, directory fs.FS) (Manifest, bool) {
	base, err := load(directory, m.Base, true)
	if err != nil {
		d.Problemf("base", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return base, err == nil
}

// inherit takes from the base what the document does not have. A key that it has replaces the base's value as a whole, lists
// too: nobody has to add up two lists to know what is in an image.
func (m *Manifest) inherit(d *strictyaml.Document, base Manifest) {
	for key, take := range map[string]func(){
		"distribution": func() { m.Distribution = base.Distribution },
		"release":      func() { m.Release = base.Release },
		"pockets":      func() { m.Pockets = base.Pockets },
		"firmware":     func() { m.Firmware = base.Firmware },
		"disk":         func() { m.Disk = base.Disk },
		"memory":       func() { m.Memory = base.Memory },
		"vcpus":        func() { m.VCPUs = base.VCPUs },
		"packages":     func() { m.Packages = base.Packages },
		"files":        func() { m.Files = base.Files },
		"setup":        func() { m.Setup, m.SetupScript = base.Setup, base.SetupScript },
		"services":     func() { m.Services = base.Services },
	} {
		if !d.Has(key) {
			take()
		}
	}
}

// payload is where the files of a manifest lie.
func payload(file string, directory fs.FS) (fs.FS, error) {
	return fs.Sub(directory, strings.TrimSuffix(path.Base(file), ".yaml"))
}
