package collect

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// targets says to what the guest boots, and which enabled services have no program.
func (b *bootReader) targets() {
	units := b.units
	name := "default.target"
	attributes := map[string]string{"state": "whole"}
	for range maxStacked {
		file := units.units[name]
		if file == nil || file.masked {
			attributes["state"] = "missing"
			break
		}
		attributes["path"] = file.path
		if file.target == "" || path.Base(file.target) == name {
			break
		}
		name = path.Base(file.target)
	}
	attributes["unit"] = name
	b.add("target", attributes)
	for name, file := range units.units {
		if !strings.HasSuffix(name, ".service") || !b.isEnabled(name) {
			continue
		}
		for _, program := range file.tokens.programs {
			if !b.src.exists(program) {
				b.add("program "+name, map[string]string{"path": program, "state": "missing"})
			}
		}
	}
}

func (b *bootReader) isEnabled(unit string) bool {
	file := b.units.units[unit]
	return file != nil && !file.masked && b.units.enabled(unit, file) == "enabled"
}

// emergency says whether anybody could log in on the console where a boot has stopped.
func (b *bootReader) emergency() {
	attributes := map[string]string{}
	shadow, err := b.src.read("/etc/shadow", maxSmall)
	b.note(err)
	if locked, known := parseLocks(shadow)["root"]; known {
		attributes["locked"] = locked
	}
	for _, unit := range []string{"emergency.service", "rescue.service"} {
		for _, dir := range unitDirs {
			for _, file := range b.dropins(dir.path + "/" + unit) {
				if content, err := b.src.read(file, maxSmall); err == nil && bytes.Contains(content, []byte("SYSTEMD_SULOGIN_FORCE=1")) {
					attributes["forced"] = "true"
				}
			}
		}
	}
	b.add("emergency", attributes)
}

// dropins returns a unit file's path, and those of what is added to it.
func (b *bootReader) dropins(unit string) []string {
	found := []string{unit}
	entries, _ := b.src.readDir(unit + ".d")
	for _, entry := range entries {
		found = append(found, unit+".d/"+entry.Name())
	}
	return found
}

// autoremove asks APT what it would take away as not needed any more. Where there is one kernel, nothing can be lost.
func (b *bootReader) autoremove(ctx context.Context) {
	if len(b.kernels) < 2 || !b.src.exists("/usr/bin/apt-get") {
		return
	}
	// Its caches would be written anew.
	listing, err := b.src.command(ctx, "apt-get", "--simulate", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "autoremove")
	if err != nil {
		b.note(err) // it may be broken just now, which others tell
		return
	}
	var removed []string
	for line := range bytes.Lines(listing) {
		if w := strings.Fields(string(line)); len(w) > 1 && w[0] == "Remv" {
			removed = append(removed, w[1])
		}
	}
	slices.Sort(removed)
	b.add("autoremove", map[string]string{"packages": strings.Join(removed, ",")})
}

// selfCheck is how a daemon checks its own configuration without running.
type selfCheck struct {
	units   []string // it is asked if one of these is enabled, or always
	program string
	options []string
	needs   string // a file without which it has nothing to check
}

// selfChecks are asked of daemons that are installed.
func selfChecks() []selfCheck {
	return []selfCheck{
		{units: []string{"ssh.service", "sshd.service", "ssh.socket"}, program: "/usr/sbin/sshd", options: []string{"-t"}, needs: "/run/sshd"},
		{units: []string{"nginx.service"}, program: "/usr/sbin/nginx", options: []string{"-t", "-q"}},
		{units: []string{"apache2.service"}, program: "/usr/sbin/apache2ctl", options: []string{"configtest"}},
		{units: []string{"httpd.service"}, program: "/usr/sbin/httpd", options: []string{"-t"}},
		{units: []string{"haproxy.service"}, program: "/usr/sbin/haproxy", options: []string{"-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"}},
		{units: []string{"named.service", "bind9.service"}, program: "/usr/bin/named-checkconf"},
		{units: []string{"named.service"}, program: "/usr/sbin/named-checkconf"},
		{units: []string{"unbound.service"}, program: "/usr/sbin/unbound-checkconf"},
		{units: []string{"dovecot.service"}, program: "/usr/bin/doveconf", options: []string{"-n"}},
		{units: []string{"postfix.service", "postfix@-.service"}, program: "/usr/sbin/postconf", options: []string{"-n"}},
		{units: []string{"exim4.service"}, program: "/usr/sbin/exim4", options: []string{"-bV"}},
		{units: []string{"smbd.service"}, program: "/usr/bin/testparm", options: []string{"-s"}},
		{units: []string{"squid.service"}, program: "/usr/sbin/squid", options: []string{"-k", "parse"}},
		{units: []string{"rsyslog.service"}, program: "/usr/sbin/rsyslogd", options: []string{"-N1"}},
		{units: []string{"keepalived.service"}, program: "/usr/sbin/keepalived", options: []string{"-t"}},
		{units: []string{"nftables.service"}, program: "/usr/sbin/nft", options: []string{"-c", "-f", "/etc/nftables.conf"}},
		{program: "/usr/sbin/visudo", options: []string{"-c", "-q"}},
	}
}

// selfChecks asks each daemon that would be started at the next boot.
func (b *bootReader) selfChecks(ctx context.Context) {
	for _, c := range selfChecks() {
		unit := ""
		if i := slices.IndexFunc(c.units, b.isEnabled); i >= 0 {
			unit = c.units[i]
		}
		if len(c.units) > 0 && unit == "" || !b.src.exists(c.program) || c.needs != "" && !b.src.exists(c.needs) {
			continue
		}
		output, exit, err := b.src.check(ctx, c.program, c.options...)
		if err != nil {
			b.note(err)
			continue
		}
		b.add("check "+path.Base(c.program), map[string]string{
			"unit": unit, "command": strings.Join(append([]string{c.program}, c.options...), " "), "exit": strconv.Itoa(exit),
			"text": strings.ReplaceAll(output, "\r\n", "\n"), // as sshd ends its lines
		})
	}
}

// runCheck runs a program of the guest's and returns what it says, and with what it exits.
func runCheck(ctx context.Context, name string, arguments ...string) (output string, exit int, err error) {
	const (
		bound = 30 * time.Second
		most  = 4 << 10 // bytes of what it says
	)
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	command := exec.CommandContext(ctx, name, arguments...)
	command.Env = commandEnvironment()
	command.WaitDelay = time.Second
	said := &tailBuffer{most: most}
	command.Stdout, command.Stderr = said, said
	err = command.Run()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) && ctx.Err() == nil {
		return string(said.kept), failed.ExitCode(), nil
	}
	return string(said.kept), 0, err
}

// tailBuffer keeps the end of what is written.
type tailBuffer struct {
	kept []byte
	most int
}

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if excess := len(t.kept) - t.most; excess > 0 {
		t.kept = t.kept[excess:]
	}
	return len(p), nil
}
