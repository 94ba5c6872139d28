package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/grub"
	"github.com/patchlab/patchlab/harness/verdict"
)

// defaultEntry judges what would be started.
func (s *state) defaultEntry() []Finding {
	if s.entry == nil {
		return nil // told of the configuration, or another system is the default
	}
	found := s.faults(s.entry)
	if source, given := argument(s.entry, "root="); given && !s.resolves(source) {
		f := finding(verdict.Error, "PL705", fact.Key{Kind: fact.KindMount, Name: "/"},
			"the default boot entry has root="+source+", and there is no such device", quote(s.entry))
		f = f.about(s.config.Attribute("config"))
		found = append(found, f.mend("Correct root= (blkid shows what there is): update-grub finds it anew unless GRUB_CMDLINE_LINUX sets it."))
	}
	return found
}

// quote shows an entry as evidence.
func quote(e *grub.Entry) string {
	return fmt.Sprintf("menuentry %q: linux %s %s; initrd %s", e.Title, e.Linux, e.Arguments, strings.Join(e.Initrds, " "))
}

func argument(e *grub.Entry, name string) (string, bool) {
	for word := range strings.FieldsSeq(e.Arguments) {
		if value, ok := strings.CutPrefix(word, name); ok {
			return value, true
		}
	}
	return "", false
}

// faults are why an entry cannot start a system.
func (s *state) faults(e *grub.Entry) []Finding {
	kernel, full := s.fileOf(e, e.Linux)
	release := s.releaseOf(e)
	tell := func(subject, what, remedy string) Finding {
		return finding(verdict.Error, "PL701", fileKey(subject), fmt.Sprintf("the boot entry %q %s", e.Title, what), quote(e)).mend(remedy)
	}
	reinstall := fmt.Sprintf("Install the package of kernel %s again (apt-get install --reinstall linux-image-%s), then update-grub.", release, release)
	switch {
	case isMissing(kernel):
		return []Finding{tell(full, "names the kernel "+full+", which does not exist", reinstall)}
	case isCut(kernel):
		return []Finding{tell(full, "names the kernel "+full+", which is "+kernel.Attribute("state"), reinstall)}
	}
	var found []Finding
	again := fmt.Sprintf("Make the initrd while the machine still runs: update-initramfs -c -k %s (elsewhere dracut --force --kver %s), then update-grub.", release, release)
	for _, name := range e.Initrds {
		switch initrd, at := s.fileOf(e, name); {
		case isMissing(initrd):
			found = append(found, tell(at, "names the initrd "+at+", which does not exist", again))
		case isCut(initrd):
			found = append(found, tell(at, "names the initrd "+at+", which is "+initrd.Attribute("state"), again))
		}
	}
	if len(found) > 0 {
		return found
	}
	// A kernel's modules lie where it looks for them: below the release that it has in itself.
	inside := kernel.Attribute("release")
	modules := s.get("modules " + inside)
	dir := "/usr/lib/modules/" + inside
	switch {
	case inside == "" || modules.Attribute("state") == "":
		return nil // nobody knows
	case isMissing(modules):
		return []Finding{tell(dir, "starts kernel "+inside+", whose modules ("+dir+") do not exist", reinstall)}
	case isCut(modules):
		return []Finding{tell(dir, "starts kernel "+inside+", whose modules are "+modules.Attribute("state"), "Run depmod "+inside+"; if modules are missing: "+reinstall)}
	case modules.Attribute("lacks") != "":
		return []Finding{tell(dir, "starts kernel "+inside+", which has no module "+modules.Attribute("lacks")+" for the root device", reinstall)}
	}
	return s.initrdFaults(e, inside, full, list(modules.Attribute("needs")), again)
}

// initrdFaults asks whether the root device's drivers are there before the root device is.
func (s *state) initrdFaults(e *grub.Entry, release, kernel string, needs []string, remedy string) []Finding {
	tell := func(subject, what string) []Finding {
		return []Finding{finding(verdict.Error, "PL701", fileKey(subject), fmt.Sprintf("the boot entry %q %s", e.Title, what), quote(e)).mend(remedy)}
	}
	if len(needs) == 0 {
		return nil // all is in the kernel
	}
	if len(e.Initrds) == 0 {
		return tell(kernel, "starts "+kernel+" without an initrd, and the root device needs modules: "+strings.Join(needs, ", "))
	}
	var held, releases []string
	last := ""
	for _, name := range e.Initrds {
		initrd, at := s.fileOf(e, name)
		if initrd.Attribute("state") != "whole" {
			return nil // nobody knows
		}
		held = append(held, list(initrd.Attribute("modules"))...)
		releases = append(releases, list(initrd.Attribute("releases"))...)
		last = at
	}
	switch lacks := without(needs, held); {
	case len(held) == 0:
		return tell(last, "has an initrd without any module ("+last+"), and the root device needs "+strings.Join(needs, ", "))
	case !slices.Contains(releases, release):
		return tell(last, fmt.Sprintf("starts kernel %s with an initrd for %s", release, strings.Join(releases, ", ")))
	case len(lacks) > 0:
		return tell(last, "has an initrd ("+last+") without the modules that the root device needs: "+strings.Join(lacks, ", "))
	}
	return nil
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(one string) bool { return slices.Contains(some, one) })
}

// otherEntries names what else in the menu leads nowhere: that is found out when one needs it.
func (s *state) otherEntries() []Finding {
	told := map[fact.Key]bool{}
	if s.entry != nil {
		for _, f := range s.faults(s.entry) {
			told[f.Subject] = true
		}
	}
	var found []Finding
	for _, e := range s.menu.Linux() {
		for _, f := range s.faults(e) {
			if told[f.Subject] {
				continue
			}
			told[f.Subject] = true
			f.ID, f.Severity = "PL703", verdict.Warning
			found = append(found, f)
		}
	}
	return found
}
