package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

func kernelKey(release string) fact.Key {
	return fact.Key{Kind: fact.KindKernel, Name: "installed:" + release}
}

// installed returns the kernels that lie in /boot, by name.
func (s *state) installed() map[string]fact.Fact {
	found := map[string]fact.Fact{}
	for path, file := range s.named("file ") {
		if name, ok := kernelName(path); ok && file.Attribute("what") == "kernel" && file.Attribute("state") == "whole" {
			found[name] = file
		}
	}
	return found
}

// bootable returns the kernels that an entry of the menu can start.
func (s *state) bootable() []string {
	var found []string
	for _, e := range s.menu.Linux() {
		if release := s.releaseOf(e); release != "" && !slices.Contains(found, release) && len(s.faults(e)) == 0 {
			found = append(found, release)
		}
	}
	return found
}

// newest: the kernel that a patch brought has to be the one that is started.
func (s *state) newest() []Finding {
	if s.entry == nil {
		return nil
	}
	standard, newest := s.releaseOf(s.entry), ""
	for name := range s.installed() {
		if newest == "" || compareReleases(name, newest) > 0 {
			newest = name
		}
	}
	if standard == "" || newest == "" || compareReleases(newest, standard) <= 0 {
		return nil
	}
	f := finding(verdict.Error, "PL709", kernelKey(newest), "kernel "+newest+" is installed, but the boot loader starts "+standard, quote(s.entry))
	config, file := s.config.Attribute("config"), s.installed()[newest]
	switch inMenu := slices.Contains(s.bootable(), newest); {
	case inMenu:
		return []Finding{f.because("GRUB_DEFAULT, or a saved default entry, chooses the older one").
			mend("Look at GRUB_DEFAULT in /etc/default/grub and at grub-editenv list: otherwise the fix is installed but never used.")}
	case number(file.Attribute("changed")) > number(s.config.Attribute("modified")):
		f = f.because(config + " was written before the kernel was installed")
	default:
		f = f.because("no entry of " + config + " starts it")
	}
	return []Finding{f.mend("Run update-grub, and look for the new kernel's entry: otherwise the fix is installed but never used.")}
}

// lostFallback: a kernel that is known to boot has to be kept until the new one has.
func (s *state) lostFallback(was *state) []Finding {
	if len(s.menu.Linux()) == 0 || was.set.Len() == 0 {
		return nil // an empty menu is told as such
	}
	standard := ""
	if s.entry != nil {
		standard = s.releaseOf(s.entry)
	}
	now, before := without(s.bootable(), []string{standard}), was.bootable()
	if len(now) > 0 {
		return nil
	}
	running := s.get("running").Attribute("release")
	_, kept := s.installed()[running]
	_, ran := was.installed()[running]
	switch others := without(before, []string{standard}); {
	case ran && !kept:
		return []Finding{s.noFallback(running, "kernel "+running+", which runs now, is gone, and the boot menu has no other to fall back to")}
	case standard != running && ran:
		return []Finding{s.noFallback(running, "the boot menu cannot start kernel "+running+", which runs now, nor any other than "+standard)}
	case len(others) > 0:
		return []Finding{s.noFallback(others[0], "kernel "+others[0]+" was the fallback, and cannot be started any more")}
	}
	return nil
}

func (s *state) noFallback(release, title string) Finding {
	var lines []string
	for _, e := range s.menu.Linux() {
		lines = append(lines, quote(e))
	}
	const most = 4
	f := finding(verdict.Error, "PL702", kernelKey(release), title, lines[:min(len(lines), most)]...)
	return f.mend(fmt.Sprintf("Keep kernel %s until the new one has booted: install it beside the new one (rpm -i, not -U; apt-mark manual "+
		"linux-image-%s), then update-grub.", release, release))
}

// autoremoved: a fallback that the next clearing up takes away is none.
func (s *state) autoremoved() []Finding {
	if s.entry == nil {
		return nil
	}
	removed := list(s.get("autoremove").Attribute("packages"))
	fallbacks := without(s.bootable(), []string{s.releaseOf(s.entry)})
	var doomed []string
	for _, release := range fallbacks {
		name, _, _ := strings.Cut(s.installed()[release].Attribute("package"), ":")
		if name == "" || !slices.Contains(removed, name) {
			return nil // one stays
		}
		doomed = append(doomed, name)
	}
	if len(doomed) == 0 {
		return nil
	}
	f := finding(verdict.Warning, "PL702", kernelKey(fallbacks[0]), "the only fallback, kernel "+fallbacks[0]+", goes with the next apt autoremove",
		"apt-get --simulate autoremove removes "+strings.Join(doomed, " "))
	return []Finding{f.mend("Keep it until the new kernel has booted: apt-mark manual " + strings.Join(doomed, " "))}
}

// compareReleases orders kernels as people do: numbers by their value, and what has a part more comes later.
func compareReleases(a, b string) int {
	for a != "" && b != "" {
		one, restA := part(a)
		two, restB := part(b)
		x, errX := strconv.ParseUint(one, 10, 64)
		y, errY := strconv.ParseUint(two, 10, 64)
		order := cmp.Compare(one, two)
		switch {
		case errX == nil && errY == nil:
			order = cmp.Compare(x, y)
		case one == "~" || two == "~": // a version before the one that is named
			order = cmp.Compare(boolInt(one != "~"), boolInt(two != "~"))
		case errX == nil || errY == nil:
			order = cmp.Compare(boolInt(errX == nil), boolInt(errY == nil))
		}
		if order != 0 {
			return order
		}
		a, b = restA, restB
	}
	switch {
	case strings.HasPrefix(a, "~"):
		return -1
	case strings.HasPrefix(b, "~"):
		return 1
	}
	return cmp.Compare(len(a), len(b))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// part cuts a number, or what lies between two, or one sign.
func part(release string) (first, rest string) {
	isDigit := func(c byte) bool { return c >= '0' && c <= '9' }
	isLetter := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
	end := 1
	for end < len(release) && (isDigit(release[0]) && isDigit(release[end]) || isLetter(release[0]) && isLetter(release[end])) {
		end++
	}
	return release[:end], release[end:]
}
