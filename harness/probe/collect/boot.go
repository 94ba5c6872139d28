package collect

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
)

// Audit returns the collectors that are asked only before a reboot: what they look at costs seconds.
func Audit() []Collector {
	return []Collector{{fact.KindBoot, bootFacts}}
}

// bootFacts reads all that the next boot depends on, see [fact.KindBoot]. What cannot be read is left out, with a note.
func bootFacts(ctx context.Context, src *Source) ([]fact.Fact, error) {
	b := &bootReader{src: src, mounts: readMounts(src), devices: readDevices(src)}
	var err error
	b.units, err = readUnitFiles(src)
	b.note(err)
	b.kernelFiles(ctx)
	b.grubMenu()
	b.initrds(ctx)
	b.rootDrivers()
	b.firmware()
	b.tables()
	b.room()
	b.targets()
	b.emergency()
	b.autoremove(ctx)
	b.selfChecks(ctx)
	return b.facts, errors.Join(b.errs...)
}

// bootReader gathers the facts of one audit.
type bootReader struct {
	src     *Source
	mounts  []mount
	devices map[string]string // name as in fstab -> node

	units *unitFiles

	kernels  []string // paths of kernels: those of /boot and those that the menu names
	named    []string // initrds that the menu names
	releases []string // of the kernels
	facts    []fact.Fact
	errs     []error
}

func (b *bootReader) add(name string, attributes map[string]string) {
	b.facts = append(b.facts, fact.Fact{Kind: fact.KindBoot, Name: name, Attributes: attributes})
}

func (b *bootReader) note(err error) {
	if err != nil {
		b.errs = append(b.errs, err)
	}
}

// has tells whether a fact is there already.
func (b *bootReader) has(name string) bool {
	return slices.ContainsFunc(b.facts, func(f fact.Fact) bool { return f.Name == name })
}

// mountOf returns what is mounted at the longest part of a path.
func (b *bootReader) mountOf(path string) (mount, bool) {
	var best mount
	found := false
	for _, m := range b.mounts {
		below := m.point == "/" || path == m.point || strings.HasPrefix(path, m.point+"/")
		if below && m.fstype != "autofs" && len(m.point) >= len(best.point) { // of two at one place the later hides the other
			best, found = m, true
		}
	}
	return best, found
}
