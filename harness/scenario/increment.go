package scenario

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// increment checks one step of the candidate.
func (v validator) increment(at string, i *Increment) {
	v.name(at+".name", i.Name)
	v.step(at, i)
}

// step checks what an increment does and expands the patterns of its packages.
func (v validator) step(at string, i *Increment) {
	if !v.acts(at, *i) {
		v.doc.Problemf(at, "does nothing: want at least one of apt, packages, files, script, services.restart")
	}
	if i.APT != nil {
		v.apt(at+".apt", *i.APT)
	}
	i.Packages = v.packages(at+".packages", i.Packages)
	v.rpm(at, i)
	for n := range i.Files {
		v.file(fmt.Sprintf("%s.files[%d]", at, n), &i.Files[n])
	}
	if v.doc.Has(at + ".script") {
		clean, err := v.payload.file(i.Script)
		if err != nil {
			v.doc.Problemf(at+".script", "%v", err)
		}
		i.Script = clean
	}
	if i.Services != nil {
		for n, unit := range i.Services.Restart {
			v.unit(fmt.Sprintf("%s.services.restart[%d]", at, n), unit)
		}
	}
}

// acts tells whether an increment does anything, or tries to.
func (v validator) acts(at string, i Increment) bool {
	for _, key := range []string{"apt", "packages", "files", "script", "services", "services.restart"} {
		if v.doc.Rejected(at + "." + key) {
			return true
		}
	}
	restarts := i.Services != nil && len(i.Services.Restart) > 0
	return i.APT != nil || len(i.Packages) > 0 || len(i.Files) > 0 || v.doc.Has(at+".script") || restarts
}

func (v validator) apt(at string, a APT) {
	switch {
	case a.Suite == "":
		v.doc.Problemf(at+".suite", "is missing: want the suite that has the update, such as bookworm-security")
	case !suitePattern.MatchString(a.Suite):
		v.doc.Problemf(at+".suite", "%q is no suite's name: want one such as bookworm-security", a.Suite)
	}
	v.oneOf(at+".mode", a.Mode, "upgrade", "with-new-pkgs", "full-upgrade")
	for i, name := range a.Packages {
		path := fmt.Sprintf("%s.packages[%d]", at, i)
		switch {
		case strings.Contains(name, "="):
			v.doc.Problemf(path, "%q names a version: the next point release would make it stale; name the suite", name)
		case !debPattern.MatchString(name):
			v.doc.Problemf(path, "%q is no package's name", name)
		}
	}
	if a.Mode == "upgrade" && len(a.Packages) > 0 {
		v.doc.Problemf(at+".mode", "upgrade means all pending packages: leave out packages, or use with-new-pkgs")
	}
}

// rpm checks how .rpm files are installed, and fills the default in where there are any.
func (v validator) rpm(at string, i *Increment) {
	v.oneOf(at+".rpm", i.RPM, RPMUpgrade, RPMInstall)
	rpms := slices.ContainsFunc(i.Packages, func(name string) bool { return v.payload.kind(name) == KindRPM })
	switch {
	case rpms:
		fill(&i.RPM, RPMUpgrade)
	case v.doc.Has(at+".rpm") && (len(i.Packages) > 0 || !v.doc.Has(at+".packages")):
		v.doc.Problemf(at+".rpm", "is for .rpm packages only, and there is none")
	}
}

// packages expands patterns, and reports what is no package.
func (v validator) packages(at string, patterns []string) []string {
	var files []string
	for i, pattern := range patterns {
		path := fmt.Sprintf("%s[%d]", at, i)
		names, err := v.payload.glob(pattern)
		if err != nil {
			v.doc.Problemf(path, "%v", err)
			continue
		}
		for _, name := range names {
			if _, err := PackageKind(filepath.Join(v.payload.dir, filepath.FromSlash(name))); err != nil {
				v.doc.Problemf(path, "%q %v", name, err)
			}
		}
		files = append(files, names...)
	}
	return files
}

func (v validator) file(at string, f *File) {
	if v.doc.Has(at + ".from") {
		clean, err := v.payload.file(f.From)
		if err != nil {
			v.doc.Problemf(at+".from", "%v", err)
		}
		f.From = clean
	} else {
		v.doc.Problemf(at+".from", "is missing: want a path relative to the scenario file")
	}
	switch {
	case f.To == "":
		v.doc.Problemf(at+".to", "is missing: want an absolute path in the guest")
	case !path.IsAbs(f.To) || path.Clean(f.To) != f.To || f.To == "/":
		v.doc.Problemf(at+".to", "%q does not do: want the absolute path of a file in the guest, without . and ..", f.To)
	}
	if f.Mode != "" && !modePattern.MatchString(f.Mode) {
		v.doc.Problemf(at+".mode", "%q is no mode: want octal digits such as \"0644\"", f.Mode)
	}
	if f.Owner != "" && !ownerPattern.MatchString(f.Owner) {
		v.doc.Problemf(at+".owner", "%q is no owner: want user:group such as root:root", f.Owner)
	}
}

func (v validator) unit(at, unit string) {
	if !unitPattern.MatchString(unit) || strings.HasPrefix(unit, "-") {
		v.doc.Problemf(at, "%q is no unit's name: want one such as nginx or nginx.service", unit)
	}
}
