package manifest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/strictyaml"
)

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	packageForm = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`) // Debian policy 5.6.1
	unitForm    = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+$`)
	modeForm    = regexp.MustCompile(`^[0-7]{3,4}$`)
	ownerForm   = regexp.MustCompile(`^[a-z_][a-z0-9_-]*:[a-z_][a-z0-9_-]*$`)
)

// The smallest guests that were seen to work: a lean Debian takes 0.8 GiB of disk before any update.
const (
	minDisk   = 2 << 10 // MiB
	minMemory = 256     // MiB
	maxVCPUs  = 64
)

func (m *Manifest) validate(d *strictyaml.Document, fileName string) {
	switch {
	case !d.Has("schema"):
		d.Problemf("schema", "missing: want 1")
	case m.Schema != 1:
		d.Problemf("schema", "this version reads schema 1, not %d", m.Schema)
	}
	switch {
	case !nameForm.MatchString(m.Name):
		d.Problemf("name", "want lower-case letters, digits and dashes, not %q", m.Name)
	case m.Name != fileName:
		d.Problemf("name", "%q is not the name of the file, %q", m.Name, fileName)
	}
	oneOf(d, "distribution", m.Distribution, []string{"debian"})
	oneOf(d, "release", m.Release, Releases())
	m.validatePockets(d)
	m.validateMachine(d)
	m.validateFiles(d)
	each(d, "packages", m.Packages, packageForm, "a package name")
	each(d, "services", m.Services, unitForm, "a unit name")
}

func (m *Manifest) validatePockets(d *strictyaml.Document) {
	for i, pocket := range m.Pockets {
		at := fmt.Sprintf("pockets[%d]", i)
		oneOf(d, at, pocket, Pockets())
		if slices.Contains(m.Pockets[:i], pocket) {
			d.Problemf(at, "%q is there twice", pocket)
		}
	}
	if !slices.Contains(m.Pockets, Release) {
		d.Problemf("pockets", "%q is missing: the others only add to it", Release)
	}
}

func (m *Manifest) validateMachine(d *strictyaml.Document) {
	oneOf(d, "firmware", m.Firmware, []hypervisor.Firmware{hypervisor.BIOS, hypervisor.EFI})
	if m.Disk < minDisk {
		d.Problemf("disk", "%s is too small: want %s or more", m.Disk, Size(minDisk))
	}
	if m.Memory < minMemory {
		d.Problemf("memory", "%s is too small: want %s or more", m.Memory, Size(minMemory))
	}
	if m.VCPUs < 1 || m.VCPUs > maxVCPUs {
		d.Problemf("vcpus", "want 1 to %d, not %d", maxVCPUs, m.VCPUs)
	}
}

func (m *Manifest) validateFiles(d *strictyaml.Document) {
	seen := map[string]bool{}
	for i, file := range m.Files {
		at := fmt.Sprintf("files[%d]", i)
		switch {
		case !path.IsAbs(file.To) || path.Clean(file.To) != file.To || file.To == "/":
			d.Problemf(at+".to", "want an absolute path of a file, not %q", file.To)
		case volatile(file.To):
			d.Problemf(at+".to", "%s is not on the disk: the running guest hides it", file.To)
		case seen[file.To]:
			d.Problemf(at+".to", "%s is there twice", file.To)
		}
		seen[file.To] = true
		if !modeForm.MatchString(file.Mode) {
			d.Problemf(at+".mode", `want octal digits in quotes such as "0644", not %q`, file.Mode)
		}
		if !ownerForm.MatchString(file.Owner) {
			d.Problemf(at+".owner", "want USER:GROUP, not %q", file.Owner)
		}
	}
}

// volatile tells whether a path lies where a running guest mounts something else, or what the build empties.
func volatile(to string) bool {
	return slices.ContainsFunc([]string{"/dev", "/proc", "/run", "/sys", "/tmp"}, func(top string) bool {
		return to == top || strings.HasPrefix(to, top+"/")
	})
}

func oneOf[T ~string](d *strictyaml.Document, at string, value T, known []T) {
	if slices.Contains(known, value) {
		return
	}
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = string(k)
	}
	d.Problemf(at, "want one of %s, not %q", strings.Join(words, ", "), value)
}

func each(d *strictyaml.Document, key string, values []string, form *regexp.Regexp, what string) {
	for i, value := range values {
		at := fmt.Sprintf("%s[%d]", key, i)
		if !form.MatchString(value) {
			d.Problemf(at, "want %s, not %q", what, value)
		} else if slices.Contains(values[:i], value) {
			d.Problemf(at, "%q is there twice", value)
		}
	}
}
