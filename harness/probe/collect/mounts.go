package collect

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// mounts reads the mounted file systems, without the kernel's own interfaces, which come and go as they are touched.
func mounts(_ context.Context, src *Source) ([]fact.Fact, error) {
	data, err := src.read("/proc/self/mountinfo", maxProcFile)
	if err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
	var facts []fact.Fact
	for _, m := range parseMounts(data) {
		if m.noise() {
			continue
		}
		facts = append(facts, fact.Fact{Kind: fact.KindMount, Name: m.point, Attributes: map[string]string{
			"source": m.source, "fstype": m.fstype, "options": strings.Join(m.options, ","),
		}})
	}
	return facts, nil
}

// readMounts returns what is mounted, in the order in which it was; nothing where the kernel does not say.
func readMounts(src *Source) []mount {
	data, err := src.read("/proc/self/mountinfo", maxProcFile)
	if err != nil {
		return nil // a note about mounts already
	}
	return parseMounts(data)
}

func parseMounts(data []byte) []mount {
	var found []mount
	for line := range bytes.Lines(data) {
		if m, ok := parseMount(string(line)); ok {
			found = append(found, m)
		}
	}
	return found
}

type mount struct {
	point, fstype, source string
	device, root          string   // the file system's number, and which of its directories is mounted
	options               []string // of the mount and of the file system, sorted
}

// parseMount reads a line of mountinfo: six fixed fields, optional ones, a dash, then type, source and options.
func parseMount(line string) (mount, bool) {
	w := strings.Fields(line)
	dash := slices.Index(w, "-")
	if dash < 6 || len(w) < dash+4 {
		return mount{}, false
	}
	options := append(strings.Split(w[5], ","), strings.Split(w[dash+3], ",")...)
	m := mount{device: w[2], root: unescapeMount(w[3]), point: unescapeMount(w[4]), fstype: w[dash+1], source: unescapeMount(w[dash+2]), options: options}
	if m.fstype == "tmpfs" {
		// The kernel's default is a share of the memory that is left to it: another kernel, another size.
		m.options = slices.DeleteFunc(m.options, func(o string) bool {
			return strings.HasPrefix(o, "size=") || strings.HasPrefix(o, "nr_inodes=")
		})
	}
	slices.Sort(m.options)
	m.options = slices.Compact(m.options)
	return m, true
}

// unescapeMount undoes the kernel's octal escapes of space, tab, newline and backslash.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// noise says whether a mount is the kernel's, the login's or our own, rather than the server's.
func (m mount) noise() bool {
	switch m.fstype {
	case "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
		"fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs":
		return true
	}
	return m.point == protocol.Dir || slices.ContainsFunc([]string{
		protocol.Dir + "/", "/run/user/", "/run/credentials/", "/run/systemd/",
	}, func(below string) bool { return strings.HasPrefix(m.point, below) })
}
