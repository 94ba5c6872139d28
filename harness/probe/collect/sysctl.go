package collect

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
)

// maxSysctl is beyond any setting; the longest are lists of ports.
const maxSysctl = 4 << 10

// moving are settings, or directories of them, that the kernel or somebody else writes all the time, that are no settings of the
// machine, or that are secret. Each begins a path below /proc/sys.
var moving = []string{
	"debug/", "dev/", "fs/aio-nr", "fs/binfmt_misc/", "fs/dentry-state", "fs/file-nr", "fs/inode-", "fs/quota/",
	"kernel/cad_pid", "kernel/domainname", "kernel/hostname", "kernel/ns_last_pid", "kernel/pty/", "kernel/random/", "kernel/sched_domain/",
	"kernel/perf_event_max_sample_rate", "kernel/sem_next_id", "kernel/msg_next_id", "kernel/shm_next_id", "kernel/tainted", "kernel/usermodehelper/",
	"net/ipv4/neigh/", "net/ipv6/neigh/", "net/ipv4/tcp_fastopen_key", "sunrpc/", "user/", "vm/compact_memory", "vm/drop_caches",
	"vm/stat_refresh",
}

// sysctls reads the kernel's settings, and what the files say that a boot sets.
func sysctls(_ context.Context, src *Source) ([]fact.Fact, error) {
	const root = "/proc/sys"
	if !src.exists(root + "/kernel") {
		return nil, nil
	}
	configured := configuredSysctls(src)
	var facts []fact.Fact
	err := walkSysctls(src, root, "", func(name string) {
		value, err := src.read(root+"/"+name, maxSysctl)
		if err != nil {
			return // some can only be written
		}
		attributes := map[string]string{"value": oneLine(value)}
		key := strings.ReplaceAll(name, "/", ".")
		if wanted, is := configured[key]; is {
			attributes["configured"] = wanted
		}
		facts = append(facts, fact.Fact{Kind: fact.KindSysctl, Name: key, Attributes: attributes})
	})
	return facts, err
}

// walkSysctls visits the settings that can be written: all others are what the kernel tells.
func walkSysctls(src *Source, root, below string, visit func(name string)) error {
	entries, err := src.readDir(path.Join(root, below))
	if err != nil {
		return fmt.Errorf("listing the kernel's settings: %w", err)
	}
	for _, entry := range entries {
		name := path.Join(below, entry.Name())
		isDir := entry.IsDir()
		if slices.ContainsFunc(moving, func(m string) bool { return strings.HasPrefix(name, m) || isDir && name+"/" == m }) ||
			path.Base(name) == "stable_secret" {
			continue
		}
		if isDir {
			if err := walkSysctls(src, root, name, visit); err != nil {
				return err
			}
			continue
		}
		const writable = 0o200
		if info, err := entry.Info(); err == nil && info.Mode().Perm()&writable != 0 {
			visit(name)
		}
	}
	return nil
}

// oneLine joins the words of a setting, which the kernel separates by tabs.
func oneLine(value []byte) string { return strings.Join(strings.Fields(string(value)), " ") }

// configuredSysctls reads what sysctl.d(5) says: of files of one name the first directory's counts, and then all of them in the order of
// their names. Patterns are left out.
func configuredSysctls(src *Source) map[string]string {
	files := map[string]string{}
	for _, dir := range []string{"/usr/lib/sysctl.d", "/usr/local/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d"} {
		entries, err := src.readDir(dir)
		if err != nil {
			continue // there need be none
		}
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), ".conf") {
				files[entry.Name()] = path.Join(dir, entry.Name())
			}
		}
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	configured := map[string]string{}
	for _, name := range names {
		content, err := src.read(files[name], maxSmall)
		if err == nil {
			readSysctlConf(content, configured)
		}
	}
	if content, err := src.read("/etc/sysctl.conf", maxSmall); err == nil { // procps reads it last
		readSysctlConf(content, configured)
	}
	return configured
}

func readSysctlConf(content []byte, into map[string]string) {
	for line := range bytes.Lines(content) {
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		key, value, found := strings.Cut(strings.TrimPrefix(text, "-"), "=")
		key = strings.TrimSpace(key)
		if !found || strings.ContainsAny(key, "*?[") {
			continue
		}
		// With a slash as the first separator, dots belong to the names, as in net/ipv4/conf/eth0.1/...
		if separator := strings.IndexAny(key, "./"); separator >= 0 && key[separator] == '/' {
			key = strings.ReplaceAll(key, "/", ".")
		}
		into[key] = oneLine([]byte(value))
	}
}
