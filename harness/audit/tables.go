package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// room: the next kernel needs as much as this one, while both are there.
func (s *state) room() []Finding {
	var found []Finding
	for dir, room := range s.named("room ") {
		free := number(room.Attribute("free"))
		need, what := s.needs(dir)
		subject := fact.Key{Kind: fact.KindMount, Name: room.Attribute("mount")}
		line := fmt.Sprintf("%s (%s on %s): %s bytes of %s are free", dir, room.Attribute("fstype"), room.Attribute("mount"),
			room.Attribute("free"), room.Attribute("total"))
		const fewInodes = 16
		switch inodes := room.Attribute("inodes"); {
		case need > 0 && free < need:
			severity := verdict.Error
			if dir != "/boot" {
				severity = verdict.Warning // a boot loader is seldom replaced, and the old one stays
			}
			found = append(found, finding(severity, "PL704", subject, fmt.Sprintf("%s has %s free, and %s %s", dir, size(free), what, size(need)), line))
		case inodes != "" && number(inodes) < fewInodes:
			found = append(found, finding(verdict.Error, "PL704", subject, dir+" has room for "+inodes+" more files only", line+", "+inodes+" inodes"))
		}
	}
	return found
}

// needs is what is written to a directory at the next update, and what that is.
func (s *state) needs(dir string) (bytes int64, what string) {
	if dir == "/boot" {
		var kernel, initrd int64
		for _, file := range s.named("file ") {
			switch file.Attribute("what") {
			case "kernel":
				kernel = max(kernel, number(file.Attribute("size")))
			case "initrd":
				initrd = max(initrd, number(file.Attribute("size")))
			}
		}
		return kernel + initrd, "a kernel with its initrd takes"
	}
	for path, file := range s.named("file ") {
		if file.Attribute("what") == "loader" && strings.HasPrefix(path, dir+"/") {
			bytes = max(bytes, number(file.Attribute("size")))
		}
	}
	return bytes, "a boot loader takes"
}

func size(bytes int64) string {
	const mib = 1 << 20
	return fmt.Sprintf("%.1f MiB", float64(bytes)/mib)
}

// tables: what the boot is told to mount, to unlock and to swap on has to be there.
func (s *state) tables() []Finding {
	var found []Finding
	for name, line := range s.named("fstab ") {
		found = append(found, s.fstab(name, line)...)
	}
	for name, line := range s.named("crypttab ") {
		source := line.Attribute("source")
		options := list(line.Attribute("options"))
		if slices.Contains(options, "noauto") || s.resolves(source) {
			continue
		}
		f := finding(severityOf(options), "PL705", line.Key(), "/etc/crypttab unlocks "+source+" as "+name+", and there is no such device", name+" "+source)
		found = append(found, f.about("/etc/crypttab").
			mend("Correct the line in /etc/crypttab, or add nofail if the server can live without it."))
	}
	return found
}

// severityOf respects that somebody has said he can do without.
func severityOf(options []string) verdict.Severity {
	if slices.Contains(options, "nofail") {
		return verdict.Warning
	}
	return verdict.Error
}

func (s *state) fstab(name string, line fact.Fact) []Finding {
	source, fstype, options := line.Attribute("source"), line.Attribute("fstype"), list(line.Attribute("options"))
	lazy := slices.ContainsFunc(options, func(o string) bool {
		return slices.Contains([]string{"noauto", "bind", "rbind", "x-systemd.automount", "_netdev"}, o)
	})
	if lazy || s.resolves(source) {
		return nil
	}
	quoted := strings.Join([]string{source, name, fstype, line.Attribute("options")}, " ")
	subject, title, severity := fact.Key{Kind: fact.KindMount, Name: name}, "/etc/fstab mounts "+source+" at "+name+", and there is no such device", severityOf(options)
	if strings.HasPrefix(name, "swap ") {
		subject, title, severity = line.Key(), "/etc/fstab swaps on "+source+", and there is no such device: the boot waits for it", verdict.Warning
	} else if severity == verdict.Warning {
		title += "; with nofail the boot goes on without it"
	}
	return []Finding{finding(severity, "PL705", subject, title, quoted).about("/etc/fstab")}
}

// resolves tells whether a device that a table names is there. Of what is no block device, or one that only a program makes, nobody
// knows.
func (s *state) resolves(source string) bool {
	source = strings.Trim(source, `"`)
	for dir, prefix := range map[string]string{
		"/dev/disk/by-uuid/": "UUID=", "/dev/disk/by-label/": "LABEL=", "/dev/disk/by-partuuid/": "PARTUUID=", "/dev/disk/by-partlabel/": "PARTLABEL=",
	} {
		if name, ok := strings.CutPrefix(source, dir); ok {
			source = prefix + name
		}
	}
	tag, value, tagged := strings.Cut(source, "=")
	switch {
	case tagged && slices.Contains([]string{"UUID", "PARTUUID"}, tag):
		return s.hasDevice(tag + "=" + strings.Trim(value, `"`))
	case tagged && slices.Contains([]string{"LABEL", "PARTLABEL"}, tag):
		return s.has("device " + tag + "=" + strings.Trim(value, `"`))
	}
	path, isDevice := strings.CutPrefix(source, "/dev/")
	known := !strings.Contains(path, "/") || strings.HasPrefix(path, "mapper/") || strings.HasPrefix(path, "disk/by-")
	special := slices.Contains([]string{"root", "nfs", "ram0", "cdrom", "dvd", "sr0", "fd0"}, path)
	return !isDevice || !known || special || s.has("device "+source)
}

// hasDevice does not mind how a UUID is written.
func (s *state) hasDevice(name string) bool {
	if s.has("device " + name) {
		return true
	}
	for device := range s.named("device ") {
		if strings.EqualFold(device, name) {
			return true
		}
	}
	return false
}
