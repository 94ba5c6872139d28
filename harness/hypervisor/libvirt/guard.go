package libvirt

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// guard is what keeps a libvirt's QEMUs from files: the user they run as, and the security models that confine them.
type guard struct {
	owner  *Owner   // nil if they run as root, or if libvirt does not say
	models []string // apparmor, selinux
}

// askGuard asks libvirt. One that does not say is taken for one without: this only serves advice.
func askGuard(l *golibvirt.Libvirt) guard {
	text, err := l.ConnectGetCapabilities()
	if err != nil {
		return guard{}
	}
	return parseGuard(text)
}

func parseGuard(text string) guard {
	var found libvirtxml.Caps
	if err := found.Unmarshal(text); err != nil {
		return guard{}
	}
	var g guard
	for _, model := range found.Host.SecModel {
		switch model.Name {
		case "dac":
			for _, label := range model.Labels {
				if g.owner == nil {
					g.owner = parseLabel(label.Value)
				}
			}
		case "none":
		default:
			g.models = append(g.models, model.Name)
		}
	}
	return g
}

// parseLabel reads "+64055:+107".
func parseLabel(label string) *Owner {
	user, group, ok := strings.Cut(label, ":")
	uid, noUID := strconv.Atoi(strings.TrimPrefix(user, "+"))
	gid, noGID := strconv.Atoi(strings.TrimPrefix(group, "+"))
	if !ok || noUID != nil || noGID != nil || uid == 0 {
		return nil
	}
	return &Owner{Name: "with the id " + strconv.Itoa(uid), UID: uid, GID: gid}
}

// Describe says in sentences where domains run, as whom, and what confines them.
func (d *Driver) Describe() []string {
	said := d.place.describe()
	if d.guard.owner != nil {
		said = append(said, "its QEMUs run as the user "+d.guard.owner.Name)
	}
	if len(d.guard.models) > 0 {
		said = append(said, "confined by "+strings.Join(d.guard.models, " and "))
	}
	return said
}

// CheckReach tells of the first of these directories of this host that QEMU could not enter.
func (d *Driver) CheckReach(dirs ...string) error {
	for _, dir := range dirs {
		file := filepath.Join(dir, "file")
		if err := d.place.checkReach(hypervisor.DomainSpec{Console: file}); err != nil {
			return err
		}
	}
	return nil
}

// ErrDenied means that the machine that QEMU runs on keeps it from something. The text says who does, and the remedy.
var ErrDenied = errors.New("access denied on the machine that runs QEMU")

// What libvirt and QEMU say of a denial. Their texts are all there is: libvirt has no numbers for it.
var (
	deniedFile = regexp.MustCompile(`[Cc]ould not open '([^']+)': (?:Permission denied|Operation not permitted)`)
	deniedLoad = regexp.MustCompile(`(?:[Cc]annot access (?:storage file|backing file)|can't load|[Ff]ailed to open(?: file)?) ['"“]?(/[^'"”: ]+)['"”]?.*Permission denied`)
	apparmor   = regexp.MustCompile(`AppArmor profile|apparmor=|security driver.*apparmor|virt-aa-helper`)
	selinux    = regexp.MustCompile(`(?i)unable to (?:set|get) (?:security|SELinux) context|different SELinux label|unable to allocate socket security context|can't (?:set|get) .*svirt`)
	inContext  = regexp.MustCompile(`on '([^']+)'`)
)

// explain adds to an error of defining or starting who denied what, if it is a denial, and what to do.
func (g guard) explain(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	switch {
	case apparmor.MatchString(text):
		return fmt.Errorf("%w: AppArmor (%w): %s", ErrDenied, err, apparmorProfile)
	case selinux.MatchString(text):
		return fmt.Errorf("%w: SELinux (%w): %s", ErrDenied, err, selinuxRemedy(firstMatch(text, inContext)))
	}
	path := firstMatch(text, deniedFile, deniedLoad)
	if path == "" {
		return err
	}
	return fmt.Errorf("%w: %w: %s", ErrDenied, err, g.remedy(path))
}

func firstMatch(text string, patterns ...*regexp.Regexp) string {
	for _, pattern := range patterns {
		if found := pattern.FindStringSubmatch(text); found != nil {
			return found[1]
		}
	}
	return ""
}

const apparmorProfile = "libvirt could not give QEMU a profile. `journalctl -k | grep apparmor` on that machine says why; often " +
	"`systemctl reload apparmor` helps, or apparmor-utils is missing"

// remedy is against a denial of which only the file is known: by the model that confines QEMU, then by plain permissions.
func (g guard) remedy(path string) string {
	switch {
	case slices.Contains(g.models, "apparmor"):
		return fmt.Sprintf("if its directories let QEMU's user pass, AppArmor denies it: `journalctl -k | grep DENIED` names the rule. "+
			"Allow the path in /etc/apparmor.d/local/abstractions/libvirt-qemu (%s rk,) and /etc/apparmor.d/local/usr.lib.libvirt.virt-aa-helper "+
			"(%s r,), then `systemctl reload apparmor`", path, path)
	case slices.Contains(g.models, "selinux"):
		return "if its directories let QEMU's user pass, " + selinuxRemedy(path)
	default:
		user := "the user that QEMU runs as"
		if g.owner != nil {
			user += " (" + g.owner.Name + ")"
		}
		return fmt.Sprintf("%s must be able to enter every directory above %s: keep images and runs where others may pass, or use setfacl",
			user, path)
	}
}

func selinuxRemedy(path string) string {
	dir := "DIRECTORY"
	if i := strings.LastIndex(path, "/"); i > 0 {
		dir = path[:i]
	}
	return fmt.Sprintf("SELinux denies it: `ausearch -m avc -ts recent` names the rule. Give the directory the type of virtual "+
		"machines' disks: semanage fcontext -a -t svirt_image_t '%s(/.*)?' && restorecon -R %s; on NFS: setsebool -P virt_use_nfs on", dir, dir)
}
