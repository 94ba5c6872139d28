package judge

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// ByHand lists what a machine has that a boot did not bring to it: daemons that nobody but a person started, settings and addresses
// that were made by hand, mounts, sessions of screen and tmux. live is the machine as it is, booted the same after a boot; elsewhere
// says that it was another machine that booted, whose hardware and network are its own.
func ByHand(live, booted fact.Set, elsewhere bool) []verdict.Finding {
	c := comparison{live: live, booted: booted, elsewhere: elsewhere}
	found := slices.Concat(c.processes(), c.units(), c.ports(), c.settings(), c.addresses(), c.mounts())
	for i, f := range found {
		found[i].ID, found[i].Severity = "PL906", verdict.Warning
		found[i].Is = cmp.Or(f.Is, "not there after a boot")
		if entry, known := verdict.Lookup("PL906"); known && f.Remedy == "" {
			found[i].Remedy = entry.Remedy
		}
	}
	return found
}

// IsSession tells whether what was done by hand is somebody's session, which nobody expects to outlive a boot.
func IsSession(f verdict.Finding) bool {
	_, executable := splitProcess(f.Subject.Name)
	return f.Subject.Kind == fact.KindProcess && isMultiplexer(executable)
}

// isMultiplexer recognises the programs that keep a session while nobody is logged in.
func isMultiplexer(executable string) bool {
	name := path.Base(executable)
	return name == "screen" || name == "tmux"
}

type comparison struct {
	live, booted fact.Set
	elsewhere    bool
	told         map[string]bool // "UNIT EXECUTABLE" of what is told with its ports
}

// isNobodys tells whether a unit is none that a boot starts: a login, a scope or service that somebody made for a while, or what a
// job of patchlab's left behind.
func isNobodys(unit string) bool {
	return unit == "-" || isSession(unit) || strings.HasPrefix(unit, "patchlab-job-") ||
		strings.HasPrefix(unit, "run-") && (strings.HasSuffix(unit, ".scope") || strings.HasSuffix(unit, ".service"))
}

// companions start with a login and end with it, whatever becomes of their terminal.
var companions = []string{"ssh-agent", "gpg-agent", "dbus-daemon", "dbus-broker", "dbus-launch", "systemd", "sd-pam", "sshd", "sshd-session", "login"}

func (c *comparison) processes() []verdict.Finding {
	c.told = map[string]bool{}
	var found []verdict.Finding
	for _, p := range c.live.OfKind(fact.KindProcess) {
		unit, executable := splitProcess(p.Name)
		ports := c.portsOf(unit, executable)
		stays := p.Attribute("detached") == "true" || !isSession(unit) || len(ports) > 0
		if !isNobodys(unit) || !stays || slices.Contains(companions, path.Base(executable)) || c.comesBack(executable) {
			continue
		}
		c.told[p.Name] = true
		f := verdict.Finding{
			Subject: p.Key(), Title: executable + " was started by hand: no boot starts it",
			Was: "running as " + p.Attribute("users"),
		}
		if len(ports) > 0 {
			f.Was += ", listening on " + strings.Join(ports, ", ")
		}
		if isMultiplexer(executable) {
			f.Title = "a session of " + path.Base(executable) + ": it ends with the machine, and all that runs in it"
			f.Remedy = "Make units of what has to run after the next boot; end the session when it is not needed."
		}
		found = append(found, f)
	}
	return found
}

// comesBack tells whether a unit of the booted machine runs a program.
func (c *comparison) comesBack(executable string) bool {
	return slices.ContainsFunc(c.booted.OfKind(fact.KindProcess), func(p fact.Fact) bool {
		unit, its := splitProcess(p.Name)
		return its == executable && !isNobodys(unit)
	})
}

func (c *comparison) portsOf(unit, executable string) []string {
	var ports []string
	for _, p := range c.live.OfKind(fact.KindPort) {
		if _, _, _, inet := splitPort(p.Name); inet && p.Attribute("unit") == unit && p.Attribute("executable") == executable {
			ports = append(ports, p.Name)
		}
	}
	return ports
}

// units that run although nothing starts them.
func (c *comparison) units() []verdict.Finding {
	var found []verdict.Finding
	for _, u := range c.live.OfKind(fact.KindUnit) {
		enabled := u.Attribute("enabled")
		isKnown := strings.HasSuffix(u.Name, ".service") || strings.HasSuffix(u.Name, ".socket") || strings.HasSuffix(u.Name, ".timer")
		if !isKnown || !up(u) || passing(u) || isNobodys(u.Name) || enabled != "disabled" && enabled != "transient" {
			continue
		}
		if after, there := c.booted.Get(fact.KindUnit, u.Name); there && up(after) {
			continue // something that boots wants it
		}
		found = append(found, verdict.Finding{
			Subject: u.Key(), Title: u.Name + " was started by hand: it is " + enabled + ", and no boot starts it",
			Was: "active, " + enabled, Remedy: "Enable it, if it has to run after the next boot: systemctl enable " + u.Name,
		})
	}
	return found
}

// ports of logins whose processes are not told already.
func (c *comparison) ports() []verdict.Finding {
	var found []verdict.Finding
	for _, p := range c.live.OfKind(fact.KindPort) {
		_, _, _, inet := splitPort(p.Name)
		unit := p.Attribute("unit")
		_, there := c.booted.Get(p.Kind, p.Name)
		if !inet || there || !isNobodys(unit) || c.told[unit+" "+p.Attribute("executable")] {
			continue
		}
		found = append(found, verdict.Finding{
			Subject: p.Key(), Title: p.Name + " was opened by hand: nothing listens there after a boot",
			Was: "held by " + p.Attribute("executable") + " of " + unit,
		})
	}
	return found
}

func (c *comparison) settings() []verdict.Finding {
	var found []verdict.Finding
	for _, s := range c.live.OfKind(fact.KindSysctl) {
		after, there := c.booted.Get(s.Kind, s.Name)
		value, next := s.Attribute("value"), after.Attribute("value")
		wanted, isConfigured := s.Attributes["configured"]
		switch {
		case !there || value == next || isConfigured && wanted == value:
			continue
		case !isConfigured && (c.elsewhere && sized.MatchString(s.Name) || derivedAnew(s.Name, value, next)):
			continue // the kernel's own
		}
		f := verdict.Finding{
			Subject: s.Key(), Title: s.Name + " was set to " + value + " by hand: a boot makes it " + next, Was: value, Is: next,
			Remedy: "Write it down where a boot reads it, if it is meant to stay: " + s.Name + " = " + value + " in a file of /etc/sysctl.d.",
		}
		if isConfigured {
			f.Title = s.Name + " was set to " + value + " by hand: the files of sysctl.d make it " + wanted
		}
		found = append(found, f)
	}
	return found
}

func (c *comparison) addresses() []verdict.Finding {
	var found []verdict.Finding
	for _, a := range c.live.OfKind(fact.KindAddress) {
		if _, there := c.booted.Get(a.Kind, a.Name); there || a.Attribute("dynamic") != "" || a.Attribute("configured") != "" {
			continue
		}
		link, prefix, _ := strings.Cut(a.Name, " ")
		found = append(found, verdict.Finding{
			Subject: a.Key(), Title: "the address " + prefix + " of " + link + " was given by hand: no file of the network's configuration names it",
			Was: prefix, Remedy: "Write it into the configuration of the network, if it is meant to stay.",
		})
	}
	return found
}

func (c *comparison) mounts() []verdict.Finding {
	var found []verdict.Finding
	for _, m := range c.live.OfKind(fact.KindMount) {
		_, there := c.booted.Get(m.Kind, m.Name)
		unit, known := c.live.Get(fact.KindUnit, mountUnit(m.Name))
		if there || !known || unit.Attribute("fragment") != "" {
			continue // fstab or a unit has it
		}
		found = append(found, verdict.Finding{
			Subject: m.Key(), Title: m.Name + " was mounted by hand: neither /etc/fstab nor a unit has it",
			Was: m.Attribute("source") + " (" + m.Attribute("fstype") + ")", Remedy: "Write it into /etc/fstab, if it is meant to stay.",
		})
	}
	return found
}

// mountUnit is the name that systemd gives to a mount point's unit: see systemd.unit(5).
func mountUnit(point string) string {
	trimmed := strings.Trim(point, "/")
	if trimmed == "" {
		return "-.mount"
	}
	var name strings.Builder
	for i := range len(trimmed) {
		switch char := trimmed[i]; {
		case char == '/':
			name.WriteByte('-')
		case char >= 'a' && char <= 'z', char >= 'A' && char <= 'Z', char >= '0' && char <= '9', char == ':', char == '_', char == '.' && i > 0:
			name.WriteByte(char)
		default:
			const hex = "0123456789abcdef"
			name.WriteString(`\x` + string([]byte{hex[char>>4], hex[char&0xf]}))
		}
	}
	return name.String() + ".mount"
}
