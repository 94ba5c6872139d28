package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

const (
	remedyUpdateGrub  = "Run update-grub (elsewhere grub2-mkconfig) and read what it says; then look at its result before the reboot."
	remedyGrubInstall = "Run grub-install on the disk that the machine starts from (with EFI firmware: with the system partition mounted), then update-grub."
)

// loader judges GRUB's configuration as a whole.
func (s *state) loader() []Finding {
	if !s.hasLoader() {
		return nil
	}
	config := s.config.Attribute("config")
	tell := func(severity verdict.Severity, title string, lines ...string) []Finding {
		return []Finding{finding(severity, "PL703", fileKey(config), title, lines...).mend(remedyUpdateGrub)}
	}
	switch {
	case isMissing(s.config):
		return tell(verdict.Error, "the boot loader's configuration "+config+" is gone")
	case len(s.menu.Faults) > 0:
		return tell(verdict.Error, config+" cannot be read to its end: "+s.menu.Faults[0], s.menu.Faults...)
	case len(s.menu.Linux()) == 0 && !strings.Contains(s.config.Attribute("text"), "blscfg"):
		return tell(verdict.Error, config+" names no kernel to start")
	}
	if written, settings := number(s.config.Attribute("modified")), number(s.config.Attribute("settings")); settings > written {
		f := finding(verdict.Warning, "PL703", fileKey("/etc/default/grub"), "the settings in /etc/default/grub are newer than "+config+
			": the next boot goes by the old ones", fmt.Sprintf("%s written %d, /etc/default/grub %d", config, written, settings))
		return []Finding{f.mend(remedyUpdateGrub)}
	}
	return nil
}

// firmware judges whether the firmware finds the boot loader.
func (s *state) firmware() []Finding {
	switch {
	case !s.hasLoader():
		return nil
	case s.get("firmware").Attribute("kind") == "bios":
		return s.bios()
	case s.get("firmware").Attribute("kind") == "efi":
		return s.efi()
	}
	return nil
}

// bios looks at the first sectors of the disks.
func (s *state) bios() []Finding {
	var boots, lines []string
	var found []Finding
	for name, disk := range s.named("disk ") {
		what := disk.Attribute("state")
		lines = append(lines, name+": "+what)
		switch why, broken := strings.CutPrefix(what, "grub: "); {
		case broken:
			f := finding(verdict.Error, "PL703", disk.Key(), "the boot loader on "+name+" is broken: "+why, name+": "+what)
			found = append(found, f.mend(remedyGrubInstall))
			boots = append(boots, name) // or it would be told twice
		case what == "grub" || what == "": // or it could not be read
			boots = append(boots, name)
		}
	}
	if len(boots) == 0 && len(lines) > 0 {
		slices.Sort(lines)
		f := finding(verdict.Error, "PL703", s.get("firmware").Key(), "no disk's first sector starts GRUB any more", lines...)
		found = append(found, f.mend(remedyGrubInstall))
	}
	return found
}

// fallbackPath is where EFI firmware looks when no entry of its menu helps.
const fallbackPath = "/EFI/BOOT/BOOTX64.EFI"

// efi follows the firmware's entries in their order, and then the fallback path.
func (s *state) efi() []Finding {
	partitions := s.named("esp ")
	if len(partitions) == 0 {
		return nil // it is not mounted, so nothing is known of it
	}
	var found []Finding
	starts := false
	firmware := s.get("firmware")
	for _, number := range list(firmware.Attribute("order")) {
		entry := s.get("efi " + number)
		partition := entry.Attribute("partition")
		for point, esp := range partitions {
			if partition == "" || partition != esp.Attribute("partition") || entry.Attribute("active") != "true" {
				continue
			}
			loader := point + strings.ReplaceAll(entry.Attribute("file"), `\`, "/")
			fault := s.loaderFault(loader)
			if fault == "" {
				starts = true
				continue
			}
			f := finding(verdict.Warning, "PL703", fact.Key{Kind: fact.KindBoot, Name: "efi " + number},
				fmt.Sprintf("the firmware's entry %q starts %s, which %s", entry.Attribute("title"), loader, fault),
				"Boot"+number+" "+entry.Attribute("title")+" "+entry.Attribute("file"))
			found = append(found, f.about(loader).mend(remedyGrubInstall))
		}
	}
	var lines []string
	fallback := ""
	for point := range partitions {
		fault := s.loaderFault(point + fallbackPath)
		fallback = point + fallbackPath
		lines = append(lines, fallback+" "+fault)
		starts = starts || fault == ""
	}
	if !starts {
		slices.Sort(lines)
		f := finding(verdict.Error, "PL703", firmware.Key(), "the firmware finds no boot loader: neither by an entry of its menu nor by the fallback path "+
			strings.ReplaceAll(fallbackPath, "/", `\`), lines...)
		found = append(found, f.about(fallback).mend(remedyGrubInstall))
	}
	return append(found, s.stubs()...)
}

// loaderFault says what is wrong with an EFI program, as the end of a sentence; "" for nothing. FAT does not mind capitals.
func (s *state) loaderFault(name string) string {
	for path, file := range s.named("file ") {
		if strings.EqualFold(path, name) {
			if isCut(file) {
				return "is " + file.Attribute("state")
			}
			return ""
		}
	}
	return "does not exist"
}

// stubs are configurations on the system partition that lead to the real one by the UUID of its file system.
func (s *state) stubs() []Finding {
	var found []Finding
	for path, file := range s.named("file ") {
		if file.Attribute("what") != "stub" {
			continue
		}
		for line := range strings.Lines(file.Attribute("text")) {
			w := strings.Fields(line)
			if len(w) < 2 || w[0] != "search.fs_uuid" || s.has("device UUID="+w[1]) {
				continue
			}
			f := finding(verdict.Error, "PL703", fileKey(path), path+" looks for the file system "+w[1]+", which does not exist", strings.TrimSpace(line))
			found = append(found, f.mend(remedyGrubInstall))
		}
	}
	return found
}
