package audit

import (
	"cmp"
	"path"
	"regexp"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// units: what the boot starts has to be there.
func (s *state) units() []Finding {
	var found []Finding
	if target := s.get("target"); isMissing(target) {
		f := finding(verdict.Error, "PL701", fact.Key{Kind: fact.KindUnit, Name: "default.target"},
			"the guest is to boot to "+target.Attribute("unit")+", which does not exist or is masked", target.Attribute("path"))
		found = append(found, f.about("/etc/systemd/system/default.target").
			mend("Run systemctl set-default multi-user.target, and see that the target's own file is there."))
	}
	for unit, program := range s.named("program ") {
		path := program.Attribute("path")
		f := finding(verdict.Error, "PL103", fact.Key{Kind: fact.KindUnit, Name: unit}, unit+" is enabled, but its program "+path+" does not exist: it would not come back", "ExecStart="+path)
		found = append(found, f.about(path).mend("Install the package of "+path+" again, or disable the unit if it is not wanted any more."))
	}
	return found
}

// pathIn finds the file that a daemon complains about.
var pathIn = regexp.MustCompile(`/etc/[A-Za-z0-9_.@/+-]*[A-Za-z0-9_]`)

// checks are what daemons say of their own configuration.
func (s *state) checks() []Finding {
	var found []Finding
	for name, check := range s.named("check ") {
		if check.Attribute("exit") == "0" {
			continue
		}
		lines := telling(check.Attribute("text"))
		title := name + " refuses its configuration"
		if len(lines) > 0 {
			title += ": " + stamp.ReplaceAllString(lines[0], "")
		}
		subject := fact.Key{Kind: fact.KindUnit, Name: check.Attribute("unit")}
		if subject.Name == "" {
			subject = check.Key()
		}
		f := finding(verdict.Error, "PL303", subject, title, append([]string{check.Attribute("command")}, lines...)...)
		file := pathIn.FindString(strings.Join(lines, " "))
		f.Remedy = "Repair " + cmp.Or(file, "the file") + " and ask again (" + check.Attribute("command") + ") before anything restarts " + path.Base(name) + "."
		found = append(found, f.about(file))
	}
	return found
}

// stamp is the time of day, and the process, which some daemons put before what they complain about.
var stamp = regexp.MustCompile(`^[0-9]{4}[/-][0-9]{2}[/-][0-9]{2}[T ][0-9:.]+ *|\b[0-9]+#[0-9]+: `)

// telling returns the first lines that say something.
func telling(text string) []string {
	const most = 6
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && len(lines) < most {
			lines = append(lines, line)
		}
	}
	return lines
}

// lockedOut: a boot that stops in emergency mode asks for root's password. That nobody has one is told when the patch made it so, or
// when there is reason to think that the boot stops.
func (s *state) lockedOut(was *state, mayStop bool) []Finding {
	locked := func(s *state) bool {
		e := s.get("emergency")
		return e.Attribute("locked") == "true" && e.Attribute("forced") != "true"
	}
	if was.set.Len() == 0 || !locked(s) || locked(was) && !mayStop {
		return nil
	}
	f := finding(verdict.Warning, "PL712", fact.Key{Kind: fact.KindUser, Name: "root"},
		"the account root is locked: should the boot stop in emergency mode, nobody can log in there", "emergency: root is locked, SYSTEMD_SULOGIN_FORCE is not set")
	return []Finding{f}
}
